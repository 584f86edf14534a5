// What was rejected, by reason; and to send it once more.
import { get, post } from "../api.js";
import { confirm, why } from "../dialogs.js";
import { announce, h } from "../dom.js";
import { beside, count, many, minute } from "../format.js";
import { PAGE, accountLink, ask, card, failure, heading, ownRun, pager, table, when } from "../parts.js";

export const title = () => "Dead letters";
export const seconds = (data) => (data.replay.state === "running" ? 1 : 10);

export async function load({ query }, signal) {
  const group = query.get("reason");
  const [letters, own] = await Promise.all([
    get("/api/dead-letters", { group, skip: query.get("skip") ?? 0 }, signal),
    get("/api/own-run", {}, signal),
  ]);
  const replay = own.kind === "replay" || own.state === "running" ? own : { state: "none" };
  return { ...letters, replay, dead_letters: { count: letters.count } };
}

export function view(data, { query }, tools) {
  const { own } = tools;
  own.chosen ??= new Set();
  const listed = new Set(data.letters.map((letter) => letter.account));
  return [
    heading("Dead letters", "Rejected for good, and nothing newer of the account has followed. A replay sends them as their rows are now."),
    ownRun(data.replay),
    own.problem ? failure(own.problem) : null,
    data.count
      ? card("Why", h("span", { class: "quiet number" }, `${many(data.count, "dead letter")}${data.more ? " and more" : ""}, ${many(data.groups.length, "reason")}`),
        h("div", {}, data.groups.map((group) => reason(group, query, data, tools))))
      : card(null, null, h("p", { class: "empty" }, "No dead letter is open.")),
    data.count ? letters(data, query, listed, tools) : null,
  ];
}

function reason(group, query, data, tools) {
  const chosen = query.get("reason") === group.group;
  return h("div", { class: "reason" },
    h("span", { class: "reason-count" }, count(group.count)),
    h("div", {},
      h("p", { class: chosen ? "reason-text chosen" : "reason-text" }, group.reason),
      h("p", { class: "quiet" }, minute(group.oldest) === minute(group.newest) ? "at " : `from ${minute(group.oldest)} to `, `${minute(group.newest)} UTC${beside(group.newest)}`)),
    h("div", { class: "row" },
      data.groups.length > 1
        ? h("a", { class: "button plain", href: chosen ? "#/dead-letters" : `#/dead-letters?reason=${group.group}` }, chosen ? "Show all" : "Show these")
        : null,
      h("button", { class: "button", disabled: data.replay.state === "running", "aria-label": `Replay all ${group.count}: ${group.reason}`,
        onclick: () => replay(tools, { group: group.group }, group.count, data.pending) }, `Replay ${group.count === 1 ? "it" : `all ${count(group.count)}`}`)));
}

function letters(data, query, listed, tools) {
  const { chosen } = tools.own;
  const skip = Number(query.get("skip") ?? 0);
  const all = [...listed].every((account) => chosen.has(account));
  const choose = (accounts, on) => {
    for (const account of accounts) on ? chosen.add(account) : chosen.delete(account);
    tools.again();
  };
  return card("Which", h("div", { class: "row" },
    h("label", { class: "check" }, h("input", { type: "checkbox", checked: all, indeterminate: !all && [...listed].some((account) => chosen.has(account)),
      onchange: (event) => choose(listed, event.target.checked) }), "All of this page"),
    h("button", { class: "button first", disabled: !chosen.size || data.replay.state === "running",
      onclick: () => replay(tools, { accounts: [...chosen] }, chosen.size, data.pending) }, chosen.size ? `Replay ${count(chosen.size)} chosen` : "Replay chosen")),
  table("Dead letters", [
    { title: "Choose", bare: true, cell: (letter) => h("input", { type: "checkbox", checked: chosen.has(letter.account), "aria-label": `Choose account ${letter.account}`,
      onchange: (event) => choose([letter.account], event.target.checked) }) },
    { title: "Account", tight: true, cell: (letter) => accountLink(letter.account) },
    { title: "HTTP", right: true, cell: (letter) => (letter.http_status === null ? "–" : String(letter.http_status)) },
    { title: "Attempts", right: true, cell: (letter) => letter.attempts },
    { title: "Rejected", tight: true, cell: (letter) => when(letter.updated) },
    { title: "Reason", wide: true, cell: (letter) => letter.error ?? "" },
  ], data.letters, "None of this reason is open any more."),
  pager("Pages of dead letters", "#/dead-letters", query, skip + PAGE < data.of_group));
}

function replay(tools, chosen, size, pending) {
  return ask(tools, () => {
    const first = pending ? `, and ${many(pending, "pending incident")}` : "";
    return confirm(`Replay ${many(size, "dead letter")}${first}?`, [
      `${size === 1 ? "The account is" : "These accounts are"} sent to the receiver once more, as the rows are now. What was delivered in the meantime is not sent again.`,
      pending ? `What earlier runs have left pending goes out first: ${many(pending, "incident")}.` : null,
    ], "Replay", async (form) => {
      await post("/api/replay", { ...chosen, why: form.get("why"), only: form.get("only") !== null });
      tools.own.chosen.clear();
      announce("The replay has begun.");
    }, [
      pending ? h("label", { class: "check" }, h("input", { type: "checkbox", name: "only" }), "Only what was chosen: leave the pending ones to the next run") : null,
      why(),
    ]);
  });
}
