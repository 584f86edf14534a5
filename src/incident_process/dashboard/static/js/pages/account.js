// One account: its incidents over time, and its document beside what was last delivered.
import { get, loadSession, post } from "../api.js";
import { momentsChart } from "../charts.js";
import { h } from "../dom.js";
import { many } from "../format.js";
import { card, failure, heading, incidentsTable, sentence } from "../parts.js";

export const title = ({ id }) => `Account ${id}`;
export const load = ({ id }, signal) => get("/api/account", { account: id }, signal);
export const seconds = () => 15;

export function view(data, { id }, tools) {
  return [
    h("div", {}, h("p", { class: "crumb" }, h("a", { href: "#/accounts" }, "Accounts")), heading(id)),
    card("Incidents over time", h("span", { class: "quiet" }, `${many(data.incidents.length, "incident")}${data.more ? ", the newest of more" : ""}`),
      data.incidents.length ? momentsChart(data.incidents, tools.width, new Date().toISOString()) : null,
      incidentsTable(data.incidents, { account: false })),
    document_(id, tools),
  ];
}

function document_(account, tools) {
  const { own } = tools;
  const look = async (work) => {
    own.busy = true;
    own.problem = null;
    tools.again();
    try {
      own.document = await work();
    } catch (problem) {
      own.problem = problem;
    }
    own.busy = false;
    tools.again();
  };
  const shown = own.document;
  return card("Its document, beside what was last delivered", null,
    own.problem ? failure(own.problem) : null,
    shown ? comparison(shown) : h("p", { class: "quiet" }, "Reads the account's rows from the source as a run would, and sends nothing."),
    h("div", { class: "row", style: { margin: "1rem 0" } },
      h("button", { class: "button", disabled: own.busy, onclick: () => look(() => get("/api/document", { account })) },
        own.busy ? "Looking …" : shown ? "Look again" : "Look it up"),
      shown?.lines.length ? unmaskButton(account, shown, tools, look) : null,
      shown?.kept ? toggle("Only what differs", own.only ??= { on: true }, tools) : null,
      shown?.lines.length ? toggle("With what each run stamps anew", own.stamps ??= { on: false }, tools) : null),
    shown?.lines.length ? difference(shown, own) : null);
}

function toggle(label, state, tools) {
  return h("label", { class: "check" },
    h("input", { type: "checkbox", checked: state.on, onchange: (event) => { state.on = event.target.checked; tools.again(); } }), label);
}

function unmaskButton(account, shown, tools, look) {
  if (!shown.masked) return h("button", { class: "button", onclick: () => look(() => get("/api/document", { account })) }, "Mask again");
  if (!tools.session.can_unmask) return null;
  return h("button", {
    class: "button", title: "Is logged, with whose token it was",
    onclick: () => tools.withSession(() => look(async () => { await loadSession(); return post("/api/unmask", { account }); })).catch(() => null),
  }, "Show personal fields");
}

function comparison(shown) {
  const says = {
    same: ["good", "Its content is what was last delivered: a run would send nothing."],
    changed: ["attention", "Its content has changed since the last delivery: the next run that looks at it sends it."],
    pending: ["attention", "It waits for an outcome: the next run resumes it."],
    waiting: ["attention", "Its content has changed, and an earlier incident waits for an outcome: the next run resumes that one first."],
    dead: ["trouble", "It was rejected with this content: replay it."],
    unfit: ["attention", "Its rows make no document now; what was delivered stands."],
    never_delivered: ["attention", "Nothing was delivered of this account yet."],
    absent: ["attention", `The source has no row of this account any more; ${shown.delivered_digest ? "what was delivered stands" : "nothing was delivered of it"}.`],
  }[shown.comparison];
  if (shown.outcome === "absent" && shown.comparison === "never_delivered") says[1] = "Neither ledger nor source know this account.";
  const digest = (value) => h("code", { title: value }, `${value.slice(0, 16)}…`);
  return [
    h("p", { class: `notice ${says[0]}` }, says[1], shown.error ? ` ${sentence(shown.error)}.` : ""),
    h("dl", { class: "pairs", style: { "margin-top": "1rem" } },
      shown.digest ? [h("dt", {}, "Digest now"), h("dd", {}, digest(shown.digest))] : null,
      shown.delivered_digest ? [h("dt", {}, "Last delivered"), h("dd", {}, digest(shown.delivered_digest), `, incident ${shown.delivered_id}`)] : null),
    shown.delivered_id && !shown.kept && shown.lines.length
      ? h("p", { class: "quiet", style: { "margin-top": "0.6rem" } }, shown.keep_bodies
        ? "The delivered body is not kept any more, so only the digests can be compared."
        : "Delivered bodies are not kept ([PROCESS] keep_bodies is off), so only the digests can be compared.")
      : null,
  ];
}

function difference({ lines, kept }, own) {
  const rows = lines.filter((line) => (own.stamps?.on || !line.envelope) && (!kept || !own.only?.on || line.change !== "same"));
  if (!rows.length) return h("p", { class: "empty" }, "No value differs.");
  const columns = kept ? 3 : 2;
  const groups = new Map();
  for (const line of rows) groups.set(groupOf(line), [...(groups.get(groupOf(line)) ?? []), line]);
  const row = (...cells) => h("tr", { role: "row" }, cells);
  return h("table", { class: "table difference", role: "table", "aria-label": "The document's values" },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, ["Property", kept && "Last delivered", "Now"].filter(Boolean).map((text) =>
      h("th", { role: "columnheader", scope: "col" }, text)))),
    h("tbody", { role: "rowgroup" }, [...groups].flatMap(([top, lines]) => {
      const empty = lines.filter(isEmpty);
      return [
        top ? h("tr", { role: "row", class: "group" }, h("td", { role: "cell", class: "wide", colspan: columns }, top.replaceAll("_", " "))) : null,
        ...lines.filter((line) => !isEmpty(line)).map((line) => row(
          h("td", { role: "cell", class: "bare" }, nameOf(line)),
          kept ? h("td", { role: "cell", "data-label": "Last delivered" }, value(line.then, line.change === "changed" || line.change === "removed" ? "del" : "span")) : null,
          h("td", { role: "cell", "data-label": "Now" }, value(line.now, line.change === "changed" || line.change === "added" ? "ins" : "span")))),
        empty.length ? row(h("td", { role: "cell", class: "bare" }, `${empty.length} empty`),
          h("td", { role: "cell", class: "wide value none", colspan: columns - 1 }, empty.map(nameOf).join(", "))) : null,
      ];
    })));
}

const groupOf = (line) => (line.path.length > 1 ? line.path[0] : "");
const nameOf = (line) => (groupOf(line) ? line.path.slice(1) : line.path).join(" › ");

/** Whether a property has no value, and had none: all of a group that are so take one line. */
const isEmpty = (line) => line.change === "same" && (line.now === null || line.now === undefined || line.now === "" || (Array.isArray(line.now) && !line.now.length));

function value(of, element) {
  if (of === null || of === undefined) return h("span", { class: "value none" }, "not there");
  if (of === "***") return h(element, { class: "value hidden-value" }, "•••", h("span", { class: "unseen" }, " hidden"));
  if (of === "") return h("span", { class: "value none" }, "empty");
  return h(element, { class: "value" }, Array.isArray(of) ? "none" : String(of));
}

