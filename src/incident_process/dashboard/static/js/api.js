// Requests to the dashboard, and who we are to it.

export class Problem extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export const SILENT = "The dashboard does not answer: is it still running?";

/** What /api/session says; see dashboard/api.py. */
export let session = null;

// The session's token: given once, at sign-in, kept for this origin alone, and sent back with every request. Unlike the
// cookie, it goes to no other port of this host.
const KEPT = "session-token";
let unkept = null; // where storage is forbidden: then it holds for this page only

function sessionToken() {
  try {
    return localStorage.getItem(KEPT) ?? unkept;
  } catch {
    return unkept;
  }
}

function keep(token) {
  unkept = token;
  try {
    if (token === null) localStorage.removeItem(KEPT);
    else localStorage.setItem(KEPT, token);
  } catch {
    // Then the variable has it.
  }
}

export async function signIn(token, user) {
  keep((await post("/api/sign-in", { token, user })).session_token);
}

export async function signOut() {
  await post("/api/sign-out", {});
  keep(null);
}

export async function loadSession() {
  session = await get("/api/session");
  return session;
}

export async function get(path, parameters = {}, signal = undefined) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== ""));
  return ask(query.size ? `${path}?${query}` : path, { signal });
}

export async function post(path, content) {
  return ask(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(content),
  });
}

async function ask(path, options) {
  let answer;
  try {
    const token = sessionToken();
    const headers = { ...options.headers, ...(token === null ? {} : { "X-CSRF-Token": token }) };
    answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, SILENT);
  }
  if (answer.status === 204) return null;
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, content.error || `The dashboard answered ${answer.status}.`);
  return content;
}
