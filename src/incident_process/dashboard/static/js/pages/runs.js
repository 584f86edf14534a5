// The audit trail, with filters.
import { get } from "../api.js";
import { h } from "../dom.js";
import { KINDS, STATUSES } from "../format.js";
import { card, heading, pager, runsTable } from "../parts.js";

const ENDS = ["completed", "no_data", "incomplete", "failed", "running"];

export const title = () => "Runs";
export const seconds = () => 5;
export const load = ({ query }, signal) =>
  get("/api/runs", { ...Object.fromEntries(["kind", "status", "from", "to", "q"].map((name) => [name, query.get(name)])), skip: query.get("skip") ?? 0 }, signal);

function address(query, changes) {
  const next = new URLSearchParams(query);
  for (const [name, value] of Object.entries(changes)) value ? next.set(name, value) : next.delete(name);
  return `#/runs${next.size ? `?${next}` : ""}`;
}

export function view(data, { query }) {
  const to = (changes) => (location.hash = address(query, { ...changes, skip: "" }));
  const date = (name, label) => h("label", { class: "field" }, label,
    h("input", { name, type: "date", value: query.get(name) ?? "", onchange: (event) => to({ [name]: event.target.value }) }));
  const select = (name, label, words) => h("label", { class: "field" }, label,
    h("select", { name, value: query.get(name) ?? "", onchange: (event) => to({ [name]: event.target.value }) },
      h("option", { value: "" }, "All"), words.map(([value, text]) => h("option", { value, selected: query.get(name) === value }, text))));
  return [
    heading("Runs", "The audit trail: every run, written before it began to work.",
      h("div", { class: "filters" }, select("kind", "Kind", Object.entries(KINDS)), select("status", "Status", ENDS.map((name) => [name, STATUSES[name][0]])),
        date("from", "From (UTC)"), date("to", "To (UTC)"),
        h("form", { role: "search", onsubmit: (event) => { event.preventDefault(); to({ q: new FormData(event.target).get("q").trim() }); } },
          h("label", { class: "field" }, "Id, host or error", h("input", { name: "q", type: "search", value: query.get("q") ?? "", autocomplete: "off", maxlength: 200 }))))),
    card(null, null,
      runsTable(data.runs, null, "No run that fits."),
      pager("Pages of runs", "#/runs", query, data.more)),
  ];
}
