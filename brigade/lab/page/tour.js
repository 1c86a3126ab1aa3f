// The buttons, and the six steps: press, expect, and what it did to the ping.

import { stopArrivals } from "./arrivals.js";
import { AT_ONCE, experimentOf, groups, MS, run, TOTAL } from "./experiments.js";
import { askGuess, guessOf, showSource } from "./guess.js";
import { workers } from "./model.js";
import { $, element, say } from "./view.js";
import { milliseconds } from "./words.js";

const STEPS = [
  { path: "sleep/awaited", title: "Wait, and let others go on", expect: "Bars above each other: all wait at the same time. The ping stays where it was." },
  { path: "sleep/blocking", title: "Wait, and hold everyone up", expect: "The same wait with time.sleep: red bars one after the other, and the ping as long as the queue." },
  { path: "cpu/on-loop", title: "Calculate on the loop", expect: "async def does not help a calculation: there is nothing to await. As red as before." },
  { path: "cpu/in-threadpool", title: "Calculate in the thread pool", expect: "Plain def. Nothing red, but every thread wants the one GIL: the ping is several times what it was." },
  { path: "cpu/in-lane", title: "Calculate in the CPU lane", expect: "One at a time beside the loop, the others queue. As quick as in the pool, and the ping hardly moves." },
  { path: "cpu/in-lane", title: "More workers", expect: "Start the service with another WEB_CONCURRENCY and press again: CPU work goes with the workers, up to the cores." },
];
const MEMORY = "lab-lane-seconds"; // of step six, by number of workers

const results = STEPS.map(() => null);
let running = null;

export const isRunning = () => running !== null;

export function showTour() {
  for (const { name, experiments } of groups) {
    const title = element("h3", { id: `group-${name}` }, name);
    const buttons = experiments.map(({ path, label }) => {
      const button = element("button", { type: "button", "data-path": path }, label);
      button.addEventListener("click", () => start(path, button));
      return button;
    });
    $("experiments").append(element("div", { class: "group", role: "group", "aria-labelledby": title.id }, title, ...buttons));
  }
  STEPS.forEach((step, index) => {
    const button = element("button", { type: "button", class: "press", "aria-describedby": `expect-${index}` });
    button.append(experimentOf(step.path).label === "in the lane" ? "CPU, in the lane" : step.path.replace("/", ", ").replaceAll("-", " "));
    button.addEventListener("click", () => start(step.path, button, index));
    const item = element(
      "li",
      { id: `step-${index}` },
      element("h3", {}, step.title),
      element("p", { class: "expect", id: `expect-${index}` }, step.expect),
      askGuess(index),
      button,
      element("pre", { class: "source" }),
      element("div", { class: "result", "aria-live": "polite" }),
    );
    $("steps").append(item);
  });
  markCurrent();
  showMemory();
}

export const showSources = (sources) => STEPS.forEach(({ path }, at) => showSource($(`step-${at}`), sources, path));

async function start(path, button, index = STEPS.findIndex((step) => step.path === path)) {
  if (running) return;
  stopArrivals();
  running = button;
  button.dataset.running = "";
  for (const other of document.querySelectorAll("main button")) other.setAttribute("aria-disabled", "true");
  say(experimentOf(path).during);
  const result = await run(path);
  say(summary(result));
  for (const other of document.querySelectorAll("main button")) other.removeAttribute("aria-disabled");
  delete button.dataset.running;
  running = null;
  if (index >= 0) showResult(index, result);
}

function summary({ path, tookMs, refused, before, during }) {
  const { label } = experimentOf(path);
  const group = groups.find(({ experiments }) => experiments.some((one) => one.path === path)).name;
  const turned = refused ? ` ${refused} were refused: no room.` : "";
  return (
    `${group}, ${label}: ${TOTAL} requests of ${MS} ms, ${AT_ONCE} at a time, took ${milliseconds(tookMs)}.${turned} ` +
    `The ping’s p99 went from ${milliseconds(before)} to ${milliseconds(during)}.`
  );
}

function showResult(index, result) {
  results[index] = { ...result, guess: guessOf(index) };
  const most = Math.max(...results.filter(Boolean).map((one) => Math.max(one.before, one.during, one.guess)));
  results.forEach((one, at) => one && drawResult($(`step-${at}`), one, most));
  if (index >= 4) remember(result);
  markCurrent();
}

function drawResult(item, { before, during, guess, tookMs }, most) {
  item.dataset.done = "";
  const width = (ms) => `${Math.max(1, (Math.log10(Math.max(1, ms)) / Math.log10(Math.max(10, most))) * 100)}%`;
  const row = (name, ms) => {
    const bar = element("i");
    bar.style.width = width(ms);
    bar.dataset.level = ms >= 100 ? "bad" : ms >= 20 ? "fair" : "good";
    return element("div", {}, element("span", {}, name), element("b", {}, milliseconds(ms)), bar);
  };
  const title = element("p", {}, `ping p99; the burst took ${milliseconds(tookMs)}`);
  const guessed = guess === null ? [] : [row("your guess", guess)];
  item.querySelector(".result").replaceChildren(title, row("before", before), ...guessed, row("during", during));
}

/** The first step not yet tried; it says so to everyone. */
function markCurrent() {
  const current = results.indexOf(null);
  STEPS.forEach((_, at) => {
    if (at === current) $(`step-${at}`).setAttribute("aria-current", "step");
    else $(`step-${at}`).removeAttribute("aria-current");
  });
}

function remember({ tookMs, refused }) {
  if (refused) return;
  const known = JSON.parse(localStorage.getItem(MEMORY) ?? "{}");
  localStorage.setItem(MEMORY, JSON.stringify({ ...known, [workers.size]: tookMs }));
  showMemory();
}

function showMemory() {
  const known = Object.entries(JSON.parse(localStorage.getItem(MEMORY) ?? "{}"));
  const told = known.map(([count, ms]) => `${count} worker${count === "1" ? "" : "s"}: ${(TOTAL / (ms / 1000)).toFixed(1)} a second`);
  const place = $("step-5").querySelector(".memory") ?? $("step-5").appendChild(element("p", { class: "memory" }));
  place.textContent = told.length ? `Measured so far: ${told.join("; ")}.` : "";
}
