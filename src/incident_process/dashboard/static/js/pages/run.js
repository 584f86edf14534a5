// One run: its window, its counts, what it did not deliver.
import { get } from "../api.js";
import { windowsChart } from "../charts.js";
import { h } from "../dom.js";
import { KINDS, OUTCOMES, beside, count, duration, instant, never } from "../format.js";
import { asOfLine, card, chip, failure, heading, incidentsTable, sentence, stopButton } from "../parts.js";

export const title = ({ id }) => `Run ${id}`;
export const load = ({ id }, signal) => get(`/api/runs/${encodeURIComponent(id)}`, {}, signal);
export const seconds = ({ run }) => (run.status === "running" ? 2 : 30);

export function view({ run, neighbours, not_delivered: rest, shown_of_each: most, not_tried: untried, more_not_tried: more }, _place, tools) {
  return [
    h("div", {}, h("p", { class: "crumb" }, h("a", { href: "#/runs" }, "Runs")),
      heading(`${KINDS[run.kind]} run of ${instant(run.started)}`, `UTC${beside(run.started)}; ${run.run_id}, on ${run.host}`, run.status === "running" ? stopButton(tools, run.run_id) : null, chip(run.status))),
    tools.own.problem ? failure(tools.own.problem) : null,
    run.error ? h("p", { class: `notice ${run.status === "failed" || run.status === "incomplete" ? "trouble" : "attention"}` }, sentence(run.error)) : null,
    card("Outcomes", h("span", { class: "quiet number" }, run.seconds === null ? "" : `in ${duration(run.seconds)}`),
      h("dl", { class: "counts" }, OUTCOMES.map((name) =>
        h("div", {}, h("dt", {}, h("span", { class: `swatch c-${name}` }), name), h("dd", {}, count(run[name])))))),
    run.window ? card("Window", h("span", { class: "quiet" }, "start < LOAD_DATE ≤ end"),
      neighbours.length ? windowsChart(neighbours, run.run_id, tools.width, null) : null,
      h("p", { class: "quiet", style: { margin: "0.4rem 0 1rem" } }, "Bars are windows, this run's in colour; the upright mark is when a run was at work."),
      facts([
        ["From", never(run.window.start) ? "the beginning: the operation had not run before" : utc(run.window.start)],
        ["To", utc(run.window.end)],
      ])) : null,
    card("What it looked at", null, facts([
      ...Object.entries(run.rows).map(([table, rows]) => [`Rows of ${table}`, count(rows)]),
      ["Accounts in the window", count(run.accounts)],
      ["Further accounts of the lookback", count(run.reread)],
      ["Taken from an earlier run's outbox", count(run.resumed)],
      ["Rows that can never be processed", count(run.unprocessable)],
      ["Started", utc(run.started)],
      ["Ended", run.ended ? utc(run.ended) : "not yet"],
      run.requested_by ? ["Asked for by", run.requested_by] : null,
      run.why ? ["Why", run.why] : null,
    ].filter(Boolean))),
    rest.length || untried ? card("Not delivered", h("span", { class: "quiet" }, `as the ledger has them now, ${most} of each status at most`),
      rest.length ? incidentsTable(rest, { run: false }) : null,
      untried ? h("p", { class: "untried" }, `${more ? "More than " : ""}${count(untried)} not tried yet`) : null) : null,
    logLines(run, tools),
  ];
}

const utc = (iso) => `${instant(iso)} UTC${beside(iso)}`;

function logLines(run, tools) {
  const { own } = tools;
  const look = async () => {
    own.problem = null;
    try {
      own.log = await get(`/api/runs/${encodeURIComponent(run.run_id)}/log`);
    } catch (problem) {
      own.problem = problem;
    }
    tools.again();
  };
  const { log } = own;
  return card("Its log lines", log ? asOfLine(log.at) : null,
    log?.why ? h("p", { class: "quiet" }, log.why) : null,
    log?.lines.length ? [
      h("p", { class: "quiet" }, `From ${log.file}${log.more ? `, the newest ${count(log.lines.length)}` : ""}${log.by_time ? "; lines between start and end of the run, among which those of other processes may be" : ""}.`),
      h("ol", { class: "log", tabindex: "0", "aria-label": "Log lines" }, log.lines.map((line) =>
        h("li", { class: line.level.toLowerCase() }, h("time", { datetime: line.at }, line.at.slice(11, 23)), h("strong", {}, line.level), h("span", {}, line.message)))),
    ] : null,
    h("div", { class: "row", style: { "margin-top": "0.9rem" } }, h("button", { class: "button", onclick: look }, log ? "Look again" : "Show its log lines")));
}

function facts(pairs) {
  return h("dl", { class: "pairs number" }, pairs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
