// Numbers, times and words as people read them. Times are UTC, as everywhere in this program; the reader's own beside it.

const whole = new Intl.NumberFormat("en-GB");
const MINUTE = 60;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const OUTCOMES = ["delivered", "unchanged", "skipped", "dead", "pending"];

export const OUTCOME_MEANING = {
  delivered: "accepted by the receiver",
  unchanged: "same content as delivered before",
  skipped: "payments, but no customer row yet",
  dead: "rejected for good",
  pending: "without an outcome yet",
};

export const KINDS = { window: "Window", backfill: "Backfill", replay: "Replay", reconcile: "Reconcile", prune: "Prune" };

export const STATUSES = {
  completed: ["Completed", "good"],
  no_data: ["No new data", ""],
  running: ["Running", "active"],
  incomplete: ["Incomplete", "trouble"],
  failed: ["Failed", "trouble"],
  locked: ["Locked", "attention"],
  not_due: ["Not due", ""],
  inactive: ["Inactive", "trouble"],
  terminated: ["Terminated", "trouble"],
  delivered: ["Delivered", "good"],
  pending: ["Pending", "attention"],
  dead: ["Dead letter", "trouble"],
  skipped: ["Skipped", "attention"],
};

export const count = (value) => whole.format(value);

export const many = (value, one, several = `${one}s`) => `${count(value)} ${value === 1 ? one : several}`;

const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
const DAY_OF_YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });

/** 1 Mar 2026, 08:30:15 */
export const instant = (iso) => (iso ? `${DATE.format(new Date(iso))}, ${iso.slice(11, 19)}` : "");

/** 1 Mar 2026, 08:30 */
export const minute = (iso) => (iso ? `${DATE.format(new Date(iso))}, ${iso.slice(11, 16)}` : "");

const HERE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const HERE_TIME = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });

/** 14:00 here, with the day where it is another; nothing where the reader's clock shows UTC. */
export function here(iso) {
  const at = iso ? new Date(iso) : null;
  if (!at?.getTimezoneOffset()) return "";
  return `${(at.getDate() === at.getUTCDate() ? HERE_TIME : HERE).format(at)} here`;
}

/** The same behind a comma. */
export const beside = (iso) => (here(iso) ? `, ${here(iso)}` : "");

/** 08:30:15 UTC, 14:00 here; with the day where it is not today. */
export function asOf(iso) {
  const today = iso.slice(0, 10) === new Date().toISOString().slice(0, 10);
  return `${today ? "" : `${day(iso)}, `}${iso.slice(11, 19)} UTC${beside(iso)}`;
}

/** 08:30:15 */
export const time = (iso) => iso.slice(11, 19);

/** 08:30, with the day where it is not the day of `now`. */
export function clock(iso, now) {
  if (!iso) return "";
  const time = iso.slice(11, 16);
  return iso.slice(0, 10) === now?.slice(0, 10) ? time : `${day(iso)}, ${time}`;
}

/** 1 Mar */
export const day = (iso) => DAY_OF_YEAR.format(new Date(iso));

/** 850 ms, 2.4 s, 3 min 20 s, 2 h 5 min, 4 d 3 h */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  const value = Math.abs(seconds);
  if (value < 0.9995) return `${Math.round(value * 1000)} ms`;
  if (value < 9.95) return `${value.toFixed(1)} s`;
  if (value < MINUTE - 0.5) return `${Math.round(value)} s`;
  return two(value);
}

function two(value) {
  const units = [[DAY, "d"], [HOUR, "h"], [MINUTE, "min"], [1, "s"]];
  const at = units.findIndex(([size]) => value >= size - 0.5);
  const [size, name] = units[at];
  const first = Math.floor((value + 0.5) / size);
  const [small, smaller] = units[at + 1] ?? [1, ""];
  const rest = Math.floor((value + 0.5 - first * size) / small);
  return rest > 0 && first < 100 ? `${first} ${name} ${rest} ${smaller}` : `${first} ${name}`;
}

/** 4 min ago, in 12 min */
export function relative(iso, now) {
  const seconds = (Date.parse(now) - Date.parse(iso)) / 1000;
  if (Math.abs(seconds) < 5) return "just now";
  const grain = Math.abs(seconds) < MINUTE ? 1 : MINUTE;
  const rounded = Math.round(Math.abs(seconds) / grain) * grain;
  const text = rounded < 10 ? `${rounded} s` : duration(rounded);
  return seconds > 0 ? `${text} ago` : `in ${text}`;
}

export const word = (status) => STATUSES[status]?.[0] ?? status;

/** The watermark of an operation that has not run is the year 1900. */
export const never = (iso) => !iso || iso < "1901";
