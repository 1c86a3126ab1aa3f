// A small chart: a line for each worker over the seconds of the run, and a mark where a stage begins.

import { drawn, element } from "./dom.js";

const WIDTH = 560;
const HEIGHT = 130;
const LEFT = 44;
const TOP = 26;
const COLOURS = ["#2563eb", "#d97706", "#059669", "#9333ea", "#dc2626", "#0891b2", "#65a30d", "#db2777"];
const LEAST_SPAN_S = 30;

export function chart(title, points, marks, read) {
  const from = points[0]?.at ?? 0;
  const until = Math.max(from + LEAST_SPAN_S, points.at(-1)?.at ?? 0);
  const values = points.map((point) => ({ at: point.at, of: read(point) }));
  const most = nice(Math.max(1, ...values.flatMap(({ of }) => Object.values(of))));
  const x = (at) => LEFT + ((at - from) / (until - from)) * (WIDTH - LEFT);
  const y = (value) => TOP + (1 - value / most) * (HEIGHT - TOP - 4);
  const names = [...new Set(values.flatMap(({ of }) => Object.keys(of)))];
  const svg = drawn("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": title });
  for (const value of [0, most / 2, most]) svg.append(rule(y(value)), text(LEFT - 6, y(value) + 4, short(value), "end"));
  marks.forEach(({ at }, index) => {
    if (at < from - 2) return;
    svg.append(drawn("line", { x1: x(at), x2: x(at), y1: 12, y2: HEIGHT, class: "mark" }), text(x(at) + 3, 20, `${index + 1}`));
  });
  names.forEach((name, at) => svg.append(...runs(values, name, x, y, COLOURS[at % COLOURS.length])));
  const legend = names.length < 2 ? [] : names.map((name, at) => key(name, COLOURS[at % COLOURS.length]));
  return element("figure", {}, element("figcaption", {}, title, ...legend), svg);
}

/** A worker that was not there for a while leaves a gap. */
function runs(values, name, x, y, colour) {
  const lines = [[]];
  for (const { at, of } of values) {
    if (of[name] === undefined || of[name] === null) lines.push([]);
    else lines.at(-1).push(`${x(at).toFixed(1)},${y(of[name]).toFixed(1)}`);
  }
  return lines.filter((line) => line.length).map((line) => drawn("polyline", { points: line.join(" "), stroke: colour, "data-of": name }));
}

const rule = (at) => drawn("line", { x1: LEFT, x2: WIDTH, y1: at, y2: at, class: "rule" });
const text = (x, y, words, anchor = "start") => drawn("text", { x, y, "text-anchor": anchor }, words);
const short = (value) => (value >= 10_000 ? `${value / 1000}k` : `${value}`);

function key(name, colour) {
  const made = element("span", { class: "key" }, name);
  made.style.setProperty("--colour", colour);
  return made;
}

/** The next of 1, 2 or 5, times a power of ten. */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((factor) => factor * power).find((each) => each >= value);
}
