// One run: its window, its counts, what it did not deliver.
import { get } from "../api.js";
import { windowsChart } from "../charts.js";
import { h } from "../dom.js";
import { KINDS, OUTCOMES, count, duration, instant, never } from "../format.js";
import { card, chip, heading, incidentsTable, sentence } from "../parts.js";

export const title = ({ id }) => `Run ${id}`;
export const load = ({ id }, signal) => get(`/api/runs/${encodeURIComponent(id)}`, {}, signal);
export const seconds = ({ run }) => (run.status === "running" ? 2 : 30);

export function view({ run, neighbours, not_delivered: rest, shown_of_each: most }, _place, tools) {
  return [
    h("div", {}, h("p", { class: "crumb" }, h("a", { href: "#/runs" }, "Runs")),
      heading(`${KINDS[run.kind]} run of ${instant(run.started)}`, `UTC, ${run.run_id}, on ${run.host}`, null, chip(run.status))),
    run.error ? h("p", { class: `notice ${run.status === "failed" || run.status === "incomplete" ? "trouble" : "attention"}` }, sentence(run.error)) : null,
    card("Outcomes", h("span", { class: "quiet number" }, run.seconds === null ? "" : `in ${duration(run.seconds)}`),
      h("dl", { class: "counts" }, OUTCOMES.map((name) =>
        h("div", {}, h("dt", {}, h("span", { class: `swatch c-${name}` }), name), h("dd", {}, count(run[name])))))),
    run.window ? card("Window", h("span", { class: "quiet" }, "start < LOAD_DATE ≤ end"),
      neighbours.length ? windowsChart(neighbours, run.run_id, tools.width, null) : null,
      h("p", { class: "quiet", style: { margin: "0.4rem 0 1rem" } }, "Bars are windows, this run's in colour; the upright mark is when a run was at work."),
      facts([
        ["From", never(run.window.start) ? "the beginning: the operation had not run before" : `${instant(run.window.start)} UTC`],
        ["To", `${instant(run.window.end)} UTC`],
      ])) : null,
    card("What it looked at", null, facts([
      ...Object.entries(run.rows).map(([table, rows]) => [`Rows of ${table}`, count(rows)]),
      ["Accounts in the window", count(run.accounts)],
      ["Further accounts of the lookback", count(run.reread)],
      ["Taken from an earlier run's outbox", count(run.resumed)],
      ["Rows that can never be processed", count(run.unprocessable)],
      ["Started", `${instant(run.started)} UTC`],
      ["Ended", run.ended ? `${instant(run.ended)} UTC` : "not yet"],
    ])),
    rest.length ? card("Not delivered", h("span", { class: "quiet" }, `as the ledger has them now, ${most} of each status at most`),
      incidentsTable(rest, { run: false })) : null,
  ];
}

function facts(pairs) {
  return h("dl", { class: "pairs number" }, pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
