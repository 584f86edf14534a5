// Find an account; without a search, what the ledger wrote last.
import { get } from "../api.js";
import { h } from "../dom.js";
import { many } from "../format.js";
import { accountAddress, accountLink, card, chip, heading, incidentsTable, table } from "../parts.js";

export const title = () => "Accounts";
export const load = ({ query }, signal) => get("/api/accounts", { q: query.get("q") ?? "" }, signal);
export const seconds = (data) => (data.newest ? 5 : 0);

export function view(data, { query }, tools) {
  const searched = query.get("q") ?? "";
  return [
    heading("Accounts", "Account numbers are exact: leading zeros count."),
    h("form", {
      class: "search", role: "search",
      onsubmit: (event) => {
        event.preventDefault();
        const text = new FormData(event.target).get("q").trim();
        const address = `#/accounts${text ? `?q=${encodeURIComponent(text)}` : ""}`;
        if (location.hash === address) tools.reload();
        else location.hash = address;
      },
    },
    h("label", { class: "field" }, "How the account number begins",
      h("input", { name: "q", type: "search", value: searched, autocomplete: "off", inputmode: "numeric", spellcheck: "false", minlength: 3 })),
    h("button", { class: "button", type: "submit" }, "Search")),
    data.newest
      ? card("Written last", h("span", { class: "quiet" }, "the newest incidents of the ledger"), incidentsTable(data.newest))
      : card(`${many(data.accounts.length, "account")} found`, data.accounts.length >= 50 ? h("span", { class: "quiet" }, "the first 50; give more of the number") : null,
        table("Accounts", [
          { title: "Account", cell: (row) => accountLink(row.account) },
          { title: "Last outcome", cell: (row) => (row.status ? chip(row.status) : "–") },
        ], data.accounts, "The ledger has no account that begins so."),
        data.accounts.some((row) => row.account === searched) ? null
          : h("p", { class: "quiet", style: { "margin-top": "1rem" } }, "Not sent yet? ",
            h("a", { href: accountAddress(searched) }, `Look for ${searched} in the source`), ".")),
  ];
}
