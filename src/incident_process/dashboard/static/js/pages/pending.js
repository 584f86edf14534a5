// What waits for an outcome: what was tried first, with its error.
import { get } from "../api.js";
import { h } from "../dom.js";
import { beside, count, many, minute } from "../format.js";
import { PAGE, accountLink, card, heading, pager, runAddress, table, when } from "../parts.js";

export const title = () => "Pending";
export const seconds = () => 10;
export const load = ({ query }, signal) => get("/api/pending", { skip: query.get("skip") ?? 0 }, signal);

export function view(data, { query }) {
  return [
    heading("Pending", "Incidents without an outcome. The next run sends them first, before anything new; none is sent twice."),
    data.count ? null : card(null, null, h("p", { class: "empty" }, "No incident is pending.")),
    data.groups.length ? card("Why", h("span", { class: "quiet number" }, `${many(data.tried, "incident was tried", "incidents were tried")}`),
      h("div", {}, data.groups.map((group) => h("div", { class: "reason" },
        h("span", { class: "reason-count" }, count(group.count)),
        h("div", {}, h("p", { class: "reason-text" }, group.reason),
          h("p", { class: "quiet" }, `last tried at ${minute(group.newest)} UTC${beside(group.newest)}`)))))) : null,
    data.count ? card("Which", null,
      data.tried ? table("Pending incidents", [
        { title: "Account", tight: true, cell: (entry) => accountLink(entry.account) },
        { title: "HTTP", right: true, cell: (entry) => (entry.http_status === null ? "–" : String(entry.http_status)) },
        { title: "Attempts", right: true, cell: (entry) => entry.attempts },
        { title: "Last tried", tight: true, cell: (entry) => when(entry.updated) },
        { title: "Run", tight: true, cell: (entry) => h("a", { href: runAddress(entry.run_id) }, "The run") },
        { title: "Error", wide: true, cell: (entry) => entry.error ?? "" },
      ], data.incidents, "None on this page.") : null,
      pager("Pages of pending incidents", "#/pending", query, Number(query.get("skip") ?? 0) + PAGE < data.tried),
      data.not_tried ? h("p", { class: "untried" }, `${count(data.not_tried)} not tried yet`) : null) : null,
  ];
}
