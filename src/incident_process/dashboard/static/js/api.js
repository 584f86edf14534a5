// Requests to the dashboard, and who we are to it.

export class Problem extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** What /api/session says; see dashboard/api.py. */
export let session = null;

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
    headers: { "Content-Type": "application/json", "X-CSRF-Token": session?.forgery_token ?? "" },
    body: JSON.stringify(content),
  });
}

async function ask(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, "The dashboard does not answer: is it still running?");
  }
  if (answer.status === 204) return null;
  const content = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Problem(answer.status, content.error || `The dashboard answered ${answer.status}.`);
  return content;
}
