// What could go wrong before it does, each finding with its remedy.
import { get } from "../api.js";
import { announce, h } from "../dom.js";
import { beside, instant, many } from "../format.js";
import { icon } from "../icons.js";
import { card, heading } from "../parts.js";

const LEVELS = [
  ["error", "A run would fail", "cross"],
  ["warning", "Could be better", "warning"],
  ["ok", "As it should be", "check"],
];

export const title = () => "Doctor";
export const load = (_place, signal) => get("/api/doctor", {}, signal);

export function view({ findings, at }, _place, tools) {
  const of = (level) => findings.filter((finding) => finding.level === level);
  const errors = of("error").length;
  const warnings = of("warning").length;
  const tone = errors ? "trouble" : warnings ? "attention" : "good";
  const says = errors
    ? `A run would fail: ${many(errors, "thing has", "things have")} to be put right.`
    : warnings ? `A run would work; ${many(warnings, "thing", "things")} could be better.` : "A run would work, and nothing needs to be done.";
  return [
    heading("Doctor", `Looked at ${instant(at)} UTC${beside(at)}. Nothing was sent or corrected.`,
      h("button", { class: "button", onclick: tools.reload }, "Look again")),
    h("p", { class: `notice ${tone}` }, says),
    ...LEVELS.map(([level, text, drawing]) => of(level).length
      ? card(text, h("span", { class: "quiet number" }, String(of(level).length)), h("div", {}, of(level).map((finding) => shown(finding, drawing))))
      : null),
  ];
}

function shown({ subject, level, finding, remedy }, drawing) {
  return h("div", { class: `finding ${level}` }, icon(drawing),
    h("div", { class: "body" },
      h("span", { class: "subject" }, subject),
      h("p", {}, finding),
      remedy && !remedy.endsWith(";") ? h("p", { class: "quiet" }, remedy) : null,
      remedy.endsWith(";") ? h("div", { class: "remedy" }, h("code", {}, remedy), h("button", {
        class: "button plain", "aria-label": `Copy the remedy for ${subject}`,
        onclick: async (event) => {
          const button = event.currentTarget;
          await navigator.clipboard.writeText(remedy);
          button.textContent = "Copied";
          announce("Copied.");
        },
      }, "Copy")) : null));
}
