// The charts, drawn as SVG for the width that there is.
import { h, s } from "./dom.js";
import { OUTCOMES, clock, count, day, duration, instant, many, minute, word } from "./format.js";
import { runAddress } from "./parts.js";

const HEIGHT = 220;
const LEFT = 44;
const FOOT = 26;
const TOP = 8;
const BAND_LABEL = 62;
const LABEL = 84; // pixels of a day and a time
const LEAST = 2.5; // pixels: one dead letter among thousands has to be seen

/** A round number at or above a value, that divides well into three. */
function roof(value) {
  if (value <= 3) return 3;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1.2, 1.5, 1.8, 2.1, 2.4, 3, 3.6, 4.5, 6, 7.5, 9, 12].map((step) => step * size).find((step) => step >= value);
}

const short = (value) => (value >= 1e6 ? `${+(value / 1e6).toFixed(1)} M` : value >= 1e4 ? `${+(value / 1e3).toFixed(1)} k` : count(Math.round(value)));

function scale(top, width, format) {
  const y = (value) => TOP + (HEIGHT - TOP - FOOT) * (1 - value / top);
  const lines = [0, 1, 2, 3].map((third) => {
    const at = y((top * third) / 3);
    return [
      s("line", { class: "grid", x1: LEFT, x2: width, y1: at, y2: at }),
      s("text", { x: LEFT - 10, y: at + 4, "text-anchor": "end" }, format((top * third) / 3)),
    ];
  });
  return { y, lines };
}

/** The last runs, oldest first, each a column of its outcomes and a link to its page. */
export function runsChart(newestFirst, width, now, hidden) {
  const runs = [...newestFirst].reverse();
  const shown = OUTCOMES.filter((name) => !hidden.has(name));
  const height = (run) => shown.reduce((sum, name) => sum + run[name], 0);
  const top = roof(Math.max(1, ...runs.map(height)));
  const { y, lines } = scale(top, width, short);
  const room = Math.max(0, LABEL / 2 - (width - LEFT) / runs.length / 2); // for the last label, which stands below its bar
  const step = (width - LEFT - room) / runs.length;
  const bar = Math.min(26, step * 0.72);
  const base = y(0);
  const columns = runs.map((run, place) => {
    const x = LEFT + step * place + (step - bar) / 2;
    let at = base;
    const parts = shown.filter((name) => run[name] > 0).map((name) => {
      const size = Math.max(LEAST, base - y(run[name]));
      at -= size;
      return s("rect", { class: `part c-${name}`, x, y: at, width: bar, height: size });
    });
    if (!parts.length) parts.push(s("rect", { class: "grid-mark part c-unchanged", x, y: base - 2, width: bar, height: 2 }));
    // A mark and not a colour: a run that failed is no dead letter.
    if (run.status === "failed") parts.push(s("path", { class: "failed", d: `M${x + bar / 2 - 4} ${at - 14}l8 8m0 -8l-8 8` }));
    // Found from the column: a renewed page keeps the elements that it had.
    const tipOf = (event) => event.currentTarget.closest(".chart").querySelector(".tip");
    const show = (event) => point(tipOf(event), run, now, x + bar / 2, width);
    const hide = (event) => (tipOf(event).hidden = true);
    return s(
      "a",
      {
        class: "bar", href: runAddress(run.run_id), tabindex: place === runs.length - 1 ? "0" : "-1",
        "aria-label": spoken(run), onmouseenter: show, onmouseleave: hide, onfocus: show, onblur: hide, onkeydown: walk,
      },
      s("rect", { class: "hit", x: LEFT + step * place, y: TOP, width: step, height: base - TOP, rx: 4 }),
      parts,
    );
  });
  return h(
    "div",
    { class: "chart" },
    s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "group", "aria-label": `The last ${many(runs.length, "run")}, oldest first` },
      lines, columns, ticks(runs, step, now, width)),
    h("div", { class: "tip", hidden: true, "aria-hidden": "true" }),
  );
}

function ticks(runs, step, now, width) {
  const most = Math.max(2, Math.floor((width - LEFT) / (LABEL + 20)));
  const every = Math.max(1, Math.ceil(runs.length / most));
  return runs.map((run, place) => {
    if ((runs.length - 1 - place) % every) return null;
    return s("text", { x: LEFT + step * (place + 0.5), y: HEIGHT - 6, "text-anchor": "middle" },
      clock(run.started, now));
  });
}

function spoken(run) {
  const parts = OUTCOMES.filter((name) => run[name]).map((name) => `${count(run[name])} ${name}`);
  return `Run of ${instant(run.started)} UTC, ${word(run.status).toLowerCase()}: ${parts.join(", ") || "nothing to do"}`;
}

function point(tip, run, now, x, width) {
  tip.replaceChildren(
    h("strong", {}, `${minute(run.started)} UTC`),
    h("div", { class: "quiet" }, `${word(run.status)}${run.seconds === null ? "" : ` in ${duration(run.seconds)}`}`),
    h("dl", {}, OUTCOMES.map((name) => [
      h("dt", {}, h("span", { class: `swatch c-${name}` }), name), h("dd", {}, count(run[name])),
    ])),
  );
  tip.hidden = false;
  // The chart may be drawn smaller than it was computed for: places go by shares of its width.
  const share = x / width;
  tip.style.setProperty("top", "0");
  tip.style.setProperty("left", share < 0.55 ? `calc(${share * 100}% + 18px)` : "auto");
  tip.style.setProperty("right", share < 0.55 ? "auto" : `calc(${(1 - share) * 100}% + 18px)`);
}

// One stop for the tab key, arrows within: forty columns must not stand in the way of the rest of the page.
function walk(event) {
  const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (!move) return;
  event.preventDefault();
  const bars = [...event.currentTarget.parentNode.querySelectorAll("a.bar")];
  const to = Math.max(0, Math.min(bars.length - 1, bars.indexOf(event.currentTarget) + move));
  bars.forEach((bar, place) => bar.setAttribute("tabindex", place === to ? "0" : "-1"));
  bars[to].focus();
}

/** How long each run took, oldest first. */
export function durationChart(newestFirst, width) {
  const runs = [...newestFirst].reverse().filter((run) => run.seconds !== null);
  if (runs.length < 2) return h("p", { class: "empty" }, "Two runs make a line.");
  const tall = 104;
  const top = Math.max(...runs.map((run) => run.seconds)) * 1.1 || 1;
  const x = (place) => 3 + ((width - 6) * place) / (runs.length - 1);
  const y = (run) => 6 + (tall - 12) * (1 - run.seconds / top);
  const line = runs.map((run, place) => `${place ? "L" : "M"}${x(place).toFixed(1)} ${y(run).toFixed(1)}`).join("");
  const last = runs.length - 1;
  return h("div", { class: "chart" },
    s("svg", { viewBox: `0 0 ${width} ${tall}`, role: "img", "aria-label": `Seconds of each of the last ${runs.length} runs; the last one took ${duration(runs[last].seconds)}` },
      s("path", { class: "mark-soft", d: `${line}L${x(last)} ${tall}L${x(0)} ${tall}Z` }),
      s("path", { class: "mark-line", d: line }),
      s("circle", { class: "mark-fill", cx: x(last), cy: y(runs[last]), r: 3.5 })));
}

/** How many deliveries took how long. */
export function latencyChart(bands, width) {
  const first = bands.findIndex((band) => band.count);
  if (first < 0) return h("p", { class: "empty" }, "Nothing was delivered yet.");
  const last = bands.findLastIndex((band) => band.count);
  const shown = bands.slice(Math.max(0, first - 1), Math.min(bands.length, last + 2));
  const tall = 110;
  const most = Math.max(...shown.map((band) => band.count));
  // Room at both sides, so that the outermost labels stand below their bars.
  const side = shown.length > 1 ? Math.max(0, (BAND_LABEL / 2 - width / shown.length / 2) / (1 - 1 / shown.length)) : 0;
  const step = (width - 2 * side) / shown.length;
  const middle = (place) => side + step * (place + 0.5);
  // What most deliveries took is named in any case.
  const highest = shown.findIndex((band) => band.count === most);
  const nearest = [...shown.keys()].sort((a, b) => Math.abs(a - highest) - Math.abs(b - highest));
  const names = spaced(nearest, middle, BAND_LABEL);
  const counts = spaced(nearest.filter((place) => shown[place].count), middle, 40);
  return h("div", { class: "chart" },
    s("svg", { viewBox: `0 0 ${width} ${tall}`, role: "img",
      "aria-label": `Deliveries by how long they took: ${shown.filter((band) => band.count).map((band) => `${count(band.count)} ${bandName(band)}`).join(", ")}` },
      shown.map((band, place) => {
        const size = band.count ? Math.max(LEAST, (tall - 44) * (band.count / most)) : 0;
        return [
          s("rect", { class: "band", x: middle(place) - step * 0.36, y: tall - 24 - size, width: step * 0.72, height: size, rx: 2 }),
          counts.has(place) ? s("text", { x: counts.get(place), y: tall - 30 - size, "text-anchor": "middle" }, short(band.count)) : null,
          names.has(place) ? s("text", { x: names.get(place), y: tall - 6, "text-anchor": "middle" }, band.upto === null ? "more" : `≤ ${duration(band.upto)}`) : null,
        ];
      })));
}

/** Where labels stand that take so much `room` each: of these places, the first ones first, those that find it. */
function spaced(places, middle, room) {
  const found = new Map();
  for (const place of places) {
    const x = middle(place);
    if ([...found.values()].every((other) => Math.abs(other - x) >= room)) found.set(place, x);
  }
  return found;
}

const bandName = (band) => (band.upto === null ? "over 5 minutes" : `up to ${duration(band.upto)}`);

/** Windows of runs below each other on one axis of time; `runs` oldest first, the one with `id` is the page's. */
export function windowsChart(runs, id, width, now) {
  const bounded = runs.filter((run) => run.window.start > "1901");
  const starts = bounded.map((run) => Date.parse(run.window.start));
  const ends = runs.flatMap((run) => [Date.parse(run.window.end), Date.parse(run.ended ?? run.started)]);
  const last = Math.max(...ends);
  const least = Math.min(...(starts.length ? starts : ends.map((end) => end - 3.6e6)));
  const begin = least - (last - least) * (bounded.length < runs.length ? 0.06 : 0) || last - 1000;
  const side = width < 520 ? 0 : 128;
  const x = (time) => side + 4 + (width - side - 12) * Math.max(0, (time - begin) / (last - begin || 1));
  const tall = runs.length * 34 + 30;
  return h("div", { class: "chart" },
    s("svg", { viewBox: `0 0 ${width} ${tall}`, role: "img", "aria-label": runs.map((run) =>
      `Run of ${instant(run.started)}: window ${run.window.start < "1901" ? "from the beginning" : `from ${instant(run.window.start)}`} to ${instant(run.window.end)}`).join(". ") },
      [0, 1, 2].map((half) => {
        const time = begin + ((last - begin) * half) / 2;
        const at = x(time);
        const text = axisTime(time, last - begin);
        return [s("line", { class: "grid", x1: at, x2: at, y1: 0, y2: tall - 22 }),
          s("text", { x: at, y: tall - 5, "text-anchor": ["start", "middle", "end"][half] }, text)];
      }),
      runs.map((run, place) => {
        const middle = place * 34 + 16;
        const open = run.window.start < "1901";
        const from = open ? side + 4 : x(Date.parse(run.window.start));
        const to = Math.max(from + 3, x(Date.parse(run.window.end)));
        const at = x(Date.parse(run.started));
        const mine = run.run_id === id ? " this" : "";
        return [
          side ? s("text", { class: mine, x: 0, y: middle + 4 }, `${day(run.started)}, ${run.started.slice(11, 19)}`) : null,
          s("rect", { class: `span-line${mine}`, x: from, y: middle - 6, width: to - from, height: 12, rx: open ? 0 : 3 }),
          s("rect", { class: "span-work", x: at - 1, y: middle - 11, width: Math.max(3, x(Date.parse(run.ended ?? now ?? run.started)) - at), height: 22, rx: 1.5 }),
        ];
      })));
}

function axisTime(time, span) {
  const iso = new Date(time).toISOString();
  if (span < 3.6e6) return iso.slice(11, 19);
  return span < 8.64e7 ? iso.slice(11, 16) : `${day(iso)}, ${iso.slice(11, 16)}`;
}

/** An account's incidents as points in time, oldest at the left. */
export function momentsChart(newestFirst, width, now) {
  const entries = [...newestFirst].reverse();
  const first = Date.parse(entries[0].created);
  const last = Math.max(Date.parse(now), Date.parse(entries.at(-1).created));
  const x = (iso) => 10 + (width - 20) * ((Date.parse(iso) - first) / (last - first || 1));
  return h("div", { class: "chart" },
    s("svg", { viewBox: `0 0 ${width} 72`, role: "img", "aria-label": entries.map((entry) => `${instant(entry.created)}: ${word(entry.status)}`).join(". ") },
      s("line", { class: "grid", x1: 10, x2: width - 10, y1: 24, y2: 24 }),
      entries.map((entry) => s("circle", { class: `moment c-${entry.status}`, cx: x(entry.created), cy: 24, r: 7.5 },
        s("title", {}, `${instant(entry.created)} UTC: ${word(entry.status)}`))),
      s("text", { x: 2, y: 56 }, minute(entries[0].created)),
      s("text", { x: width - 2, y: 56, "text-anchor": "end" }, "now")));
}
