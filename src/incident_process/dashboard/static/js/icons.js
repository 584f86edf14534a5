// Small drawings, 20 by 20, in the colour of the text around them.
import { s } from "./dom.js";

const PATHS = {
  overview: "M2.5 10.5h3.2l2-5.5 3.6 10 2.3-6 1 1.5h2.9",
  runs: "M7.5 5h9M7.5 10h9M7.5 15h9M3.6 5h.01M3.6 10h.01M3.6 15h.01",
  accounts: "M10 9.6a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM3.8 16.6c.6-3 3-4.6 6.2-4.6s5.6 1.6 6.2 4.6",
  dead: "M3 5.5h14v9.5H3zM3 6l7 5.2L17 6",
  doctor: "M8 3h4v5h5v4h-5v5H8v-5H3V8h5z",
  sun: "M10 13.2a3.2 3.2 0 1 0 0-6.4 3.2 3.2 0 0 0 0 6.4ZM10 2v2M10 16v2M2 10h2M16 10h2M4.3 4.3l1.4 1.4M14.3 14.3l1.4 1.4M4.3 15.7l1.4-1.4M14.3 5.7l1.4-1.4",
  moon: "M16.5 11.8A6.8 6.8 0 0 1 8.2 3.5a6.8 6.8 0 1 0 8.3 8.3Z",
  check: "M4.5 10.5l3.8 3.8 7.2-8.2",
  warning: "M10 3.5 17.5 16.5h-15zM10 8.3v3.6M10 14.1v.01",
  pending: "M10 17a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM10 6v4.2l2.6 1.8",
  unknown: "M7.2 7.4a2.8 2.8 0 1 1 4.4 2.3c-1 .7-1.6 1.2-1.6 2.3M10 14.9v.01",
  cross: "M5.5 5.5l9 9M14.5 5.5l-9 9",
};

export function icon(name, size = 20) {
  return s(
    "svg",
    { viewBox: "0 0 20 20", width: size, height: size, "aria-hidden": "true", fill: "none", stroke: "currentColor",
      "stroke-width": 1.7, "stroke-linecap": "round", "stroke-linejoin": "round" },
    s("path", { d: PATHS[name] }),
  );
}

/** The sign of the verdict, as large as its sentence. */
export function sign(level) {
  const inner = { good: "check", attention: "warning", trouble: "cross", unknown: "unknown" }[level];
  const drawn = icon(inner, 34);
  drawn.setAttribute("stroke-width", 1.9);
  return drawn;
}
