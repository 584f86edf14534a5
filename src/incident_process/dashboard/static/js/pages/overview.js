// Is all well, how far has it come, what happens next.
import { get, post } from "../api.js";
import { durationChart, latencyChart, runsChart } from "../charts.js";
import { confirm, why } from "../dialogs.js";
import { announce, h } from "../dom.js";
import { KINDS, OUTCOMES, OUTCOME_MEANING, asOf, beside, count, duration, many, minute, never, relative, time } from "../format.js";
import { icon, sign } from "../icons.js";
import { ask, asOfLine, card, failure, figure, ownRun, runAddress, stopButton } from "../parts.js";

export const title = () => "Overview";
export const load = (_place, signal) => get("/api/overview", {}, signal);
export const seconds = (data) => (data.under_way || data.own_run?.state === "running" ? 2 : 3);

export function view(data, _place, tools) {
  return [
    h("h1", { class: "unseen" }, "Overview"),
    verdict(data, tools.stale),
    data.under_way && underWay(data),
    data.status && figures(data),
    data.status && atWork(data, tools),
    data.runs?.length ? lastRuns(data, tools) : null,
    data.runs?.length ? h("div", { class: "columns" }, durations(data, tools), latencies(data, tools)) : null,
    data.status && ledger(data),
  ];
}

function verdict(data, stale) {
  const { health, status, runs, now } = data;
  const last = runs?.find((run) => run.ended);
  const level = stale ? "unknown" : health.level;
  const pending = status?.deliveries.pending;
  const said = [
    h("p", {}, stale ? `Not known: there is no answer since ${asOf(data.at)}.` : health.sentence),
    stale ? h("p", { class: "quiet" }, `Then it was: ${health.sentence}`) : null,
    !stale && health.remedy ? h("p", { class: "remedy-text" }, health.remedy) : null,
    health.further.length ? h("ul", {}, health.further.map((text) => h("li", {}, text))) : null,
    last ? h("p", { class: "quiet" }, `${stale ? "The" : `As of ${asOf(data.at)}; the`} last run ended ${stale ? minute(last.ended) : relative(last.ended, now)}: ${count(last.delivered)} delivered, ${count(last.unchanged)} unchanged.`) : null,
    health.level === "good" ? null : h("p", { class: "row ways" },
      runs?.length && status ? h("a", { href: runAddress(runs[0].run_id) }, "The last run") : null,
      pending ? h("a", { href: "#/pending" }, many(pending, "pending incident")) : null,
      data.dead_letters?.count ? h("a", { href: "#/dead-letters" }, many(data.dead_letters.count, "dead letter")) : null,
      h("a", { href: "#/doctor" }, "The doctor")),
  ];
  return h("section", { class: `verdict ${level}`, "aria-label": "Is all well?" }, sign(level), h("div", {}, said));
}

/** Host and process of a lease's holder, whose name is HOST/PID/MACHINE/START. */
function holder(name) {
  const parts = name.split("/");
  return parts.length >= 4 ? `${parts.slice(0, -3).join("/")}, process ${parts.at(-3)}` : name;
}

function atWork({ status, as_of: at, under_way: run, own_run: own }, tools) {
  const { lease: held, expired_lease: left } = status;
  return card("Who is at work", asOfLine(at.status), h("p", {},
    held ? `The lease is held by ${holder(held.holder)}, until ${time(held.expires)} UTC${beside(held.expires)} if it is not renewed.`
      : left ? `Nobody. ${holder(left.holder)} left its lease, given until ${minute(left.expired)} UTC${beside(left.expired)}: the next run takes it over.`
        : "Nobody: the lease is free."),
  h("div", { class: "row", style: { "margin-top": "0.9rem" } },
    run ? stopButton(tools, run.run_id)
      : h("button", { class: "button", disabled: own.state === "running", onclick: () => startRun(tools, status.deliveries.pending) }, "Start a run now")),
  tools.own.problem ? h("div", { style: { "margin-top": "0.9rem" } }, failure(tools.own.problem)) : null,
  own.kind ? h("div", { style: { "margin-top": "0.9rem" } }, ownRun(own)) : null);
}

function startRun(tools, pending) {
  return ask(tools, () => confirm(`Start a run now${pending ? `, with ${many(pending, "pending incident")} first` : ""}?`, [
    pending ? `What earlier runs have left pending goes out first: ${many(pending, "incident")}.` : null,
    "Then the run goes over all rows since the watermark, whether or not it is due. If another run is at work, this one ends at once.",
  ], "Start", async (form) => {
    await post("/api/start", { why: form.get("why") });
    announce("The run has begun.");
  }, why()));
}

function underWay({ under_way: run, now }) {
  const share = run.total ? Math.min(1, run.done / run.total) : null;
  const left = run.total && run.rate > 0 ? (run.total - run.done) / run.rate : null;
  return card(`${KINDS[run.kind]} run under way`, h("a", { href: runAddress(run.run_id) }, `Started ${relative(run.started, now)}`),
    h("div", { class: share === null ? "progress unknown" : "progress", role: "progressbar", "aria-label": "Accounts with an outcome",
      "aria-valuemin": 0, "aria-valuemax": 100, "aria-valuenow": share === null ? null : Math.round(share * 100) },
    h("div", { style: { width: share === null ? "30%" : `${(share * 100).toFixed(1)}%` } })),
    h("div", { class: "row between quiet number", style: { "margin-top": "0.7rem" } },
      h("span", {}, run.total ? `${count(run.done)} of ${many(run.total, "account")}, ${Math.floor(share * 100)} %` : `${many(run.done, "account")} so far`),
      h("span", {}, `${run.rate >= 10 ? count(Math.round(run.rate)) : run.rate.toFixed(1)} a second now`),
      run.sending?.in_flight ? h("span", {}, `${many(run.sending.in_flight, "request")} of at most ${count(run.sending.limit)} at once${run.sending.per_second === null ? "" : `, the receiver takes ${run.sending.per_second} a second`}`) : null,
      h("span", {}, left !== null && run.done < run.total ? `about ${left < 10 ? `${Math.max(1, Math.round(left))} s` : duration(left)} left` : "")));
}

function figures({ status, runs, now, under_way: under, dead_letters: dead }) {
  const lag = status.lag_seconds;
  const last = runs?.find((run) => run.ended && run.kind === "window" && run.seconds > 0);
  const rate = last ? (last.delivered + last.unchanged) / last.seconds : null;
  return h("dl", { class: "figures" },
    figure("Watermark", never(status.last_execution_dtm) ? "Not run yet" : minute(status.last_execution_dtm),
      lag === null ? "" : `UTC${beside(status.last_execution_dtm)}; ${duration(lag)} behind the source's clock`, true),
    under ? figure("Next run", "Under way", "This one") : nextRun(status, now),
    figure("Accounts a second", rate === null ? "–" : rate >= 10 ? count(Math.round(rate)) : rate.toFixed(1), "in the last window run"),
    figure("Dead letters", dead ? `${count(dead.count)}${dead.more ? "+" : ""}` : "–",
      dead?.count ? h("a", { href: "#/dead-letters" }, "See why they were rejected") : "None is open"));
}

function nextRun(status, now) {
  if (status.gate === "terminated" || status.gate === "inactive") return figure("Next run", "None", `The operation is ${status.gate}`);
  const at = status.next_run;
  if (!at) return figure("Next run", "When called", "by cron, systemd or schedule", true);
  const due = status.tracking === "sql" ? status.gate === "open" : at <= now;
  const by = status.tracking === "sql" ? "" : ", by [SCHEDULE]";
  return figure("Next run", due ? "Due now" : relative(at, now), `${due ? "since " : ""}${minute(at)} UTC${beside(at)}${by}`);
}

function lastRuns({ runs, now, as_of: at }, tools) {
  const hidden = (tools.own.hidden ??= new Set());
  return card(`Last ${many(runs.length, "run")}`,
    h("div", { class: "legend", role: "group", "aria-label": "Outcomes shown" }, OUTCOMES.map((name) =>
      h("button", {
        type: "button", "aria-pressed": String(!hidden.has(name)), title: OUTCOME_MEANING[name],
        onclick: () => { if (!hidden.delete(name)) hidden.add(name); tools.again(); },
      }, h("span", { class: `swatch c-${name}` }), name)),
    runs.some((run) => run.status === "failed") ? h("span", { class: "legend-mark" }, icon("cross", 14), "failed run") : null),
    runsChart(runs, tools.width, now, hidden), asOfLine(at.runs, "The runs "));
}

function percentiles(of) {
  return h("dl", { class: "percentiles" }, ["p50", "p95", "p99"].map((name) =>
    h("div", {}, h("dt", {}, { p50: "Half within", p95: "95 % within", p99: "99 % within" }[name]), h("dd", {}, duration(of[name])))));
}

function durations({ durations: of, runs, as_of: at }, tools) {
  return card("How long runs take", h("span", { class: "quiet" }, many(of.sample, "run")), percentiles(of), durationChart(runs, tools.half),
    h("p", { class: "quiet", style: { "margin-top": "0.7rem" } }, "From the lease to the closed record, oldest at the left. Failed runs are not counted. ", asOfLine(at.runs, "These are ")));
}

function latencies({ latency, as_of: at }, tools) {
  if (!latency) return null;
  return card("How long a delivery takes", h("span", { class: "quiet" }, `the newest ${count(latency.sample)}`), percentiles(latency),
    latencyChart(latency.bands, tools.half),
    h("p", { class: "quiet", style: { "margin-top": "0.7rem" } }, "From the first write in the ledger to the outcome: queue, attempts and pauses included. ", asOfLine(at.latency, "These are ")));
}

function ledger({ status, as_of: at }) {
  return card("The ledger", asOfLine(at.status),
    h("dl", { class: "counts" }, ["delivered", "pending", "dead", "skipped"].map((name) =>
      h("div", {}, h("dt", {}, h("span", { class: `swatch c-${name}` }), name), h("dd", {}, count(status.deliveries[name]))))));
}

