// Before a step: the code that is tried, as its difference to a neighbour's, and a mark for the p99 that the reader expects.

import { element } from "./view.js";
import { milliseconds } from "./words.js";

const MOST_MS = 5000;
const NEIGHBOUR = {
  "sleep/awaited": "sleep/blocking",
  "sleep/blocking": "sleep/awaited",
  "cpu/on-loop": "cpu/in-threadpool",
  "cpu/in-threadpool": "cpu/on-loop",
  "cpu/in-lane": "cpu/in-threadpool",
};

const marks = new Map(); // of each step: the milliseconds guessed, once the mark was dragged

export const guessOf = (step) => marks.get(step) ?? null;

/** A mark to drag, from 1 ms to 5 s on a logarithmic scale. */
export function askGuess(step) {
  const told = element("output", {}, "drag to guess");
  const slider = element("input", { type: "range", min: 0, max: 100, value: 0, "aria-label": "The ping’s p99 that you expect" });
  slider.addEventListener("input", () => {
    marks.set(step, MOST_MS ** (slider.value / 100));
    told.textContent = milliseconds(marks.get(step));
    slider.setAttribute("aria-valuetext", told.textContent);
  });
  return element("p", { class: "guess" }, "Your guess of the ping’s p99: ", told, slider);
}

/** What the route has and its neighbour lacks, and the other way round; lines that they share stand between. */
export function showSource(item, sources, path) {
  const mine = sources[path];
  const other = sources[NEIGHBOUR[path]];
  const line = (sign, text) => element(sign === " " ? "span" : sign === "+" ? "ins" : "del", {}, `${sign} ${text}\n`);
  const gone = other.filter((text) => !mine.includes(text)).map((text) => line("-", text));
  const lines = mine.map((text) => line(other.includes(text) ? " " : "+", text));
  const change = lines.findIndex(({ localName }) => localName === "ins");
  lines.splice(Math.max(0, change), 0, ...gone); // a line that is only gone is a decorator, which comes first
  item.querySelector(".source").replaceChildren(...lines);
}
