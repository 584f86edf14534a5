// What several pages are made of.
import { post } from "./api.js";
import { confirm } from "./dialogs.js";
import { announce, h } from "./dom.js";
import { KINDS, STATUSES, asOf, count, day, duration, here, instant, relative } from "./format.js";

export const runAddress = (id) => `#/runs/${encodeURIComponent(id)}`;
export const accountAddress = (account) => `#/accounts/${encodeURIComponent(account)}`;

/** An account's number as it is, spaces and all, that leads to its page. */
export const accountLink = (account) => h("a", { class: "account", href: accountAddress(account) }, account);

export function chip(status) {
  const [text, tone] = STATUSES[status] ?? [status, ""];
  return h("span", { class: `chip ${tone}${status === "failed" ? " failed" : ""}` }, text);
}

/** A moment: how long ago, and exactly when on demand. */
export function when(iso, now) {
  if (!iso) return h("span", { class: "quiet" }, "–");
  return h("time", { datetime: iso, title: iso }, now ? relative(iso, now) : instant(iso), now ? null : local(iso));
}

/** The reader's own time, under UTC. */
export const local = (iso) => (here(iso) ? h("span", { class: "here" }, here(iso)) : null);

/** As of when figures are. */
export const asOfLine = (iso, before = "") => (iso ? h("span", { class: "quiet number" }, `${before}as of ${asOf(iso)}`) : null);

export function heading(title, under, beside = null, mark = null) {
  return h("div", { class: "page-head" }, h("div", {}, h("div", { class: "row" }, h("h1", {}, title), mark), under && h("p", {}, under)), beside);
}

export function card(title, beside, ...content) {
  const head = title && (beside ? h("div", { class: "card-head" }, h("h2", {}, title), beside) : h("h2", {}, title));
  return h("section", { class: "card" }, head, ...content);
}

export function figure(name, value, under, small = false) {
  return h("div", { class: small ? "figure small" : "figure" }, h("dt", {}, name), h("dd", {}, value), h("dd", {}, under ?? ""));
}

/**
 * A table whose rows become small cards on a phone. Columns are {title, cell(row), right, wide, bare, tight, name}; roles are
 * named because a table that is laid out as cards would otherwise lose them.
 */
export function table(label, columns, rows, empty, more = "") {
  if (!rows.length) return h("p", { class: "empty" }, empty);
  const classes = (column, more = "") => [...["right", "wide", "bare", "tight"].filter((name) => column[name]), column.name].filter(Boolean).join(" ") + more;
  return h(
    "table",
    { class: `table ${more}`.trim(), role: "table", "aria-label": label },
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns.map((column) =>
      h("th", { role: "columnheader", scope: "col", class: classes(column) }, column.title)))),
    h("tbody", { role: "rowgroup" }, rows.map((row) =>
      h("tr", { role: "row" }, columns.map((column) => {
        const cell = column.cell(row);
        return h("td", { role: "cell", class: classes(column, cell === 0 ? " zero" : ""), "data-label": column.title },
          typeof cell === "number" ? count(cell) : cell);
      })))),
  );
}

export const PAGE = 25;

/** The way to newer and older rows; `query` is that of the page's address. */
export function pager(label, base, query, more) {
  const skip = Number(query.get("skip") ?? 0);
  const to = (at, text) => {
    const next = new URLSearchParams(query);
    at > 0 ? next.set("skip", at) : next.delete("skip");
    return h("a", { class: "button", href: `${base}${next.size ? `?${next}` : ""}` }, text);
  };
  return skip || more
    ? h("nav", { class: "pager", "aria-label": label }, skip ? to(skip - PAGE, "Newer") : h("span", {}), more ? to(skip + PAGE, "Older") : h("span", {}))
    : null;
}

const numbered = (name) => ({ title: name[0].toUpperCase() + name.slice(1), right: true, name, cell: (run) => run[name] });

export function runsTable(runs, now, empty) {
  return table("Runs", [
    { title: "Started", wide: true, tight: true, cell: (run) => h("a", { href: runAddress(run.run_id) },
      h("time", { datetime: run.started, title: run.started }, day(run.started), h("span", { class: "desk-only" }, ` ${run.started.slice(0, 4)}`),
        `, ${run.started.slice(11, 16)}`, h("span", { class: "desk-only" }, run.started.slice(16, 19)), local(run.started))) },
    { title: "Kind", cell: (run) => KINDS[run.kind] ?? run.kind },
    { title: "Status", name: "status", cell: (run) => chip(run.status) },
    { title: "Took", right: true, tight: true, cell: (run) => (run.seconds === null ? (run.status === "running" ? "running" : "–") : duration(run.seconds)) },
    ...["delivered", "unchanged", "skipped", "dead", "pending"].map(numbered),
  ], runs, empty, "dense runs");
}

export function incidentsTable(entries, { account = true, run = true } = {}) {
  const columns = [
    { title: "Incident", tight: true, cell: (entry) => h("span", { class: "number" }, String(entry.incident_id)) },
    account && { title: "Account", tight: true, cell: (entry) => accountLink(entry.account) },
    { title: "Status", cell: (entry) => chip(entry.status) },
    entries.some((entry) => entry.attempts > 1) && { title: "Attempts", right: true, cell: (entry) => entry.attempts },
    { title: "HTTP", right: true, cell: (entry) => (entry.http_status === null ? "–" : String(entry.http_status)) },
    { title: "Changed", tight: true, cell: (entry) => h("time", { datetime: entry.updated, title: entry.updated }, `${day(entry.updated)}, ${entry.updated.slice(11, 19)}`, local(entry.updated)) },
    run && { title: "Run", tight: true, cell: (entry) => h("a", { href: runAddress(entry.run_id) }, `${day(entry.created)}, ${entry.created.slice(11, 16)}`) },
    entries.some((entry) => entry.error) && { title: "Reason", wide: true, cell: (entry) => entry.error ?? "" },
  ].filter(Boolean);
  return table("Incidents", columns, entries, "No incident.");
}

/** The reasons that stand in the state begin in the middle of a sentence. */
export const sentence = (text) => text[0].toUpperCase() + text.slice(1);

export function failure(problem) {
  return h("div", { class: "notice trouble", role: "alert" }, problem.message);
}

/** What became of the last run that was started on this page, of whoever. */
export function ownRun(run) {
  const name = run.kind === "replay" ? "Replay" : "Run";
  if (run.state === "running") return h("p", { class: "notice plain", role: "status" }, h("span", { class: "chip active" }, name === "Replay" ? "Replaying" : "Running"), " The run is at work; its end is shown here.");
  if (run.state !== "ended") return null;
  const tone = { completed: run.dead || run.pending ? "attention" : "good", no_data: "plain", locked: "attention", incomplete: "attention" }[run.outcome] ?? "trouble";
  return h("p", { class: `notice ${tone}`, role: "status" }, `${name} by ${run.user} at ${run.started.slice(11, 19)} UTC: ${run.message} `,
    run.run_id ? h("a", { href: runAddress(run.run_id) }, "The run") : null);
}

/** Do something that needs a session and a dialog; what goes wrong is shown on the page, under `own.problem`. */
export async function ask(tools, dialog) {
  tools.own.problem = null;
  try {
    await tools.withSession(dialog);
  } catch (problem) {
    tools.own.problem = problem;
    tools.again();
    return;
  }
  tools.reload();
}

/** The button that stops the run under way. */
export function stopButton(tools, runId) {
  return h("button", { class: "button", onclick: () => ask(tools, () => confirm("Stop the run?", [
    "What is being sent is recorded, the rest stays pending; the next run sends it, and nothing twice.",
  ], "Stop it", async () => {
    await post("/api/stop", { run_id: runId });
    announce("The run is ending.");
  })) }, "Stop the run");
}
