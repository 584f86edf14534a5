// The frame: which page is shown, its renewal, who is signed in, the colours.
import { Problem, SILENT, get, loadSession, session, signOut } from "./api.js";
import { askToSignIn, signIn, signInFields } from "./dialogs.js";
import { announce, h, renew } from "./dom.js";
import { asOf, count } from "./format.js";
import { icon } from "./icons.js";
import { failure, heading } from "./parts.js";
import * as account from "./pages/account.js";
import * as accounts from "./pages/accounts.js";
import * as deadLetters from "./pages/dead-letters.js";
import * as doctor from "./pages/doctor.js";
import * as overview from "./pages/overview.js";
import * as pending from "./pages/pending.js";
import * as run from "./pages/run.js";
import * as runs from "./pages/runs.js";

const SILENT_SECONDS = 15; // without an answer, after which what is shown is not what is

// A page is a module with `title(place)`, `load(place, signal)`, `view(data, place, tools)` and, if it renews itself,
// `seconds(data)`: after so many it is loaded again.
const PAGES = [
  ["", "Overview", "overview", overview],
  ["runs", "Runs", "runs", runs, run],
  ["accounts", "Accounts", "accounts", accounts, account],
  ["pending", "Pending", "pending", pending],
  ["dead-letters", "Dead letters", "dead", deadLetters],
  ["doctor", "Doctor", "doctor", doctor],
];

const NOWHERE = {
  title: () => "Not found",
  load: async () => ({}),
  view: () => [heading("Not found"), failure(new Problem(404, "There is nothing at this address."))],
};

const main = document.getElementById("main");
let current = null; // what is shown: {page, place, data, own}
let timer = 0;
let loading = new AbortController();

/** Read the address: #/runs/ID?kind=window. */
function placeOf(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  const known = PAGES.find(([key]) => key === name);
  const id = rest.length ? decoded(rest.join("/")) : null;
  const page = (id ? known?.[4] : id === undefined ? null : known?.[3]) ?? NOWHERE;
  return { name: known?.[0], id, query: new URLSearchParams(query), page };
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined; // an address that was cut in the middle of a character
  }
}

const tools = {
  /** Load again now; `again` draws what is there once more, after the reader chose something. */
  reload: () => load(),
  again: () => draw(),
  /** Width that the page's cards have inside, in pixels. */
  get width() {
    const padding = parseFloat(getComputedStyle(main).paddingLeft) * 2;
    const card = matchMedia("(max-width: 48rem)").matches ? 34 : 44;
    return Math.max(220, main.clientWidth - padding - card);
  },
  get half() {
    return matchMedia("(max-width: 60rem)").matches ? this.width : (this.width - 20 - 44) / 2;
  },
  get session() {
    return session;
  },
  /** Do something that needs a session; ask for the token first where there is none. */
  async withSession(work) {
    if (!session.signed_in) {
      if (!session.can_sign_in) throw new Problem(403, session.no_token);
      if (!(await askToSignIn())) return;
      await loadSession();
      frame();
    }
    await work();
  },
};

async function show() {
  loading.abort();
  const place = placeOf(location.hash);
  const same = current && current.page === place.page && current.place.id === place.id;
  current = { page: place.page, place, data: same ? current.data : null, answered: same ? current.answered : 0, own: same ? current.own : {} };
  frame();
  titled();
  if (!same) {
    main.replaceChildren(h("p", { class: "empty" }, "Loading …"));
    scrollTo(0, 0);
  }
  await load();
  if (!same && arrived) {
    main.focus({ preventScroll: true });
    announce(place.page.title(place));
  }
  arrived = true;
}
let arrived = false;

async function load() {
  clearTimeout(timer);
  loading.abort();
  loading = new AbortController();
  const mine = current;
  const { signal } = loading;
  try {
    const data = await mine.page.load(mine.place, signal, mine.own);
    if (mine !== current || signal.aborted) return;
    mine.data = data;
    mine.problem = null;
    mine.answered = Date.now();
  } catch (error) {
    if (mine !== current || error.name === "AbortError") return;
    if (!(error instanceof Problem)) throw error;
    if (error.status === 401) {
      await loadSession().catch(() => null);
      frame();
      signInPage();
      return;
    }
    mine.problem = error;
  }
  draw();
  const seconds = mine.problem ? 5 : secondsOf(mine);
  if (seconds) timer = setTimeout(() => (document.hidden ? null : load()), seconds * 1000);
}

const secondsOf = ({ page, data, own }) => page.seconds?.(data, own) ?? 0;

/** Whether what is shown may not be so any more: the server does not answer, or was not asked, for a hidden page. */
function isStale() {
  if (!current?.data || !secondsOf(current)) return false;
  return current.problem?.status === 0 || Date.now() - current.answered > (secondsOf(current) + SILENT_SECONDS) * 1000;
}

function titled() {
  const { page, place, data, stale } = current;
  const words = [stale && data.at ? `? as of ${data.at.slice(11, 16)} UTC` : null, page.title(place), "Incident processing"];
  document.title = words.filter(Boolean).join(" · ");
  const icon = document.querySelector("link[rel=icon]");
  const drawn = `/static/icon${stale ? "-unknown" : ""}.svg`;
  if (icon.getAttribute("href") !== drawn) icon.setAttribute("href", drawn);
}

setInterval(() => {
  if (!current || isStale() === Boolean(current.stale)) return;
  if (!document.hidden && !current.problem && isStale()) {
    loading.abort(); // a request that hangs: the next one may be answered
    current.problem = new Problem(0, SILENT);
    timer = setTimeout(load, 5000);
  }
  draw();
}, 1000);

function draw() {
  if (!current) return;
  current.stale = isStale();
  titled();
  const { page, place, data, own, problem, stale } = current;
  const content = h("div", { class: "stack", "data-key": `${place.name}/${place.id ?? ""}` });
  if (problem && !data) content.append(heading(problem.status === 404 ? "Not found" : page.title(place)));
  if (problem) content.append(failure(problem));
  if (data) content.append(...page.view(data, place, { ...tools, width: tools.width, half: tools.half, session, own, stale }).flat().filter(Boolean));
  content.append(h("footer", { class: "quiet page-foot" },
    data?.at ? h("span", { class: "number" }, `As of ${asOf(data.at)}${stale ? ": no newer answer" : ""}`) : null,
    session?.version ? h("span", {}, `incident-process ${session.version}`) : null,
    session?.config ? h("span", {}, "Configuration: ", h("code", {}, session.config)) : null));
  const fresh = h("main", { id: "main", tabindex: "-1" }, content);
  renew(main, fresh);
  if (data?.dead_letters) badge(data.dead_letters.count);
}

function signInPage() {
  const fault = h("p", { class: "notice trouble", role: "alert", hidden: true });
  const form = h("form", {
    onsubmit: async (event) => {
      event.preventDefault();
      try {
        await signIn(new FormData(event.target));
        await start();
      } catch (error) {
        fault.textContent = error.message;
        fault.hidden = false;
      }
    },
  }, signInFields(), fault, h("button", { class: "button first", type: "submit" }, "Sign in"));
  main.replaceChildren(h("section", { class: "card sign-in" }, h("h1", {}, "Sign in"), form));
  form.querySelector("input").focus();
}

// -- the frame --------------------------------------------------------------------------------------------------------

let deadCount = 0;

function badge(value) {
  if (value !== deadCount) {
    deadCount = value;
    frame();
  }
}

function frame() {
  document.getElementById("operation").textContent = session?.operation ?? "";
  const nav = h("nav", {}, h("ul", {}, PAGES.map(([key, title, drawing]) =>
    h("li", {}, h("a", { class: "nav-link", href: `#/${key}`, "aria-current": current?.place.name === key ? "page" : null },
      icon(drawing), h("span", {}, title),
      key === "dead-letters" && deadCount ? h("span", { class: "nav-count" }, count(deadCount), h("span", { class: "unseen" }, " open")) : null)))));
  renew(document.getElementById("nav"), Object.assign(nav, { id: "nav", ariaLabel: "Pages" }));
  const dark = document.documentElement.dataset.theme === "dark";
  const foot = h("div", { class: "side-foot", id: "foot" }, h("div", { class: "who" },
    session?.signed_in
      ? [h("span", { class: "who-name" }, session.user), h("button", { class: "button plain", onclick: leave }, "Sign out")]
      : session?.can_sign_in
        ? h("button", { class: "button plain", onclick: async () => { if (await askToSignIn()) await start(); } }, "Sign in")
        : h("span", { class: "who-name" }, "Reading only"),
    h("button", { class: "icon-button", "aria-label": dark ? "Light colours" : "Dark colours", title: dark ? "Light colours" : "Dark colours",
      onclick: () => { window.switchTheme(); frame(); } }, icon(dark ? "sun" : "moon", 18))));
  renew(document.getElementById("foot"), foot);
}

async function leave() {
  await signOut();
  deadCount = 0;
  current = null;
  await start();
}

async function start() {
  try {
    await loadSession();
  } catch (error) {
    main.replaceChildren(failure(error));
    setTimeout(start, 5000);
    return;
  }
  frame();
  if (session.may_read) {
    await show();
    if (!current.data?.dead_letters) get("/api/overview").then((data) => data.dead_letters && badge(data.dead_letters.count), () => null);
  } else signInPage();
}

addEventListener("hashchange", () => (session?.may_read ? show() : signInPage()));
document.addEventListener("visibilitychange", () => { if (!document.hidden && current && session?.may_read) load(); });
let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(draw, 120);
});
new Image().src = "/static/icon-unknown.svg"; // loaded while the server answers
start();
