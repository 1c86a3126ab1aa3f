// Arrivals that do not wait for each other: an open loop of requests to the CPU lane, and the laws that tell what it costs.

import { LATE_MS } from "./draw.js";
import { AT_ONCE } from "./experiments.js";
import { workers } from "./model.js";
import { now } from "./ping.js";
import { $, element } from "./view.js";
import { milliseconds } from "./words.js";

const PATH = "cpu/in-lane";
const MS = 40;
const WINDOW_MS = 4000; // of one point
const TOLD_MS = LATE_MS + 300; // by then the workers have told what they did
const MOST_WAITING = 100;
const MOST_POINTS = 200;
const WIDTH = 320;
const HEIGHT = 150;
const TOP_MS = 1000;

let rate = 0;
let due = 0;
let turn = 0; // of the slider
let arrivals = []; // `due`, and `took` from then on, or null; a refused one is taken out
const points = [];

export function showArrivals() {
  const slider = $("arrivals-rate");
  slider.addEventListener("input", () => change(Number(slider.value)));
  setInterval(arrive, 4);
  document.addEventListener("visibilitychange", () => document.hidden && stopArrivals());
}

export function stopArrivals(why = "Nobody arrives.") {
  $("arrivals-rate").value = 0;
  change(0);
  $("arrivals-said").textContent = why;
}

function change(wanted) {
  rate = wanted;
  turn += 1;
  due = now();
  $("arrivals-number").textContent = `${rate} a second`;
  $("arrivals-said").textContent = rate ? `A point comes each ${WINDOW_MS / 1000} seconds.` : "Nobody arrives.";
  if (rate) measure(due, turn);
}

/** Send what is due. The gaps are those of a Poisson process, and a late timer does not make an arrival later. */
function arrive() {
  for (; rate && due <= now(); due -= (Math.log(1 - Math.random()) / rate) * 1000) send({ due, took: null });
  if (waiting().length > MOST_WAITING) stopArrivals(`Stopped: ${MOST_WAITING} wait, and the queue would grow without end.`);
}

const waiting = () => arrivals.filter(({ took }) => took === null);

async function send(one) {
  arrivals.push(one);
  try {
    const answer = await fetch(`lab/${PATH}?ms=${MS}&close=true`, { cache: "no-store" });
    await answer.arrayBuffer();
    if (!answer.ok) throw new Error(answer.statusText);
    one.took = now() - one.due;
  } catch {
    arrivals = arrivals.filter((other) => other !== one);
  }
}

/** One window after the other, until the slider moves. */
function measure(from, mine) {
  const to = from + WINDOW_MS;
  const unchanged = () => turn === mine && rate > 0;
  setTimeout(() => unchanged() && measure(to, mine), to - now());
  setTimeout(() => unchanged() && show(from, to), to + TOLD_MS - now());
}

function show(from, to) {
  const age = ({ due, took }) => took ?? now() - due;
  const came = arrivals.filter((one) => one.due >= from && one.due < to);
  const inside = arrivals.reduce((sum, one) => sum + overlap(one.due, one.due + age(one), from, to), 0) / WINDOW_MS;
  arrivals = arrivals.filter((one) => one.took === null || one.due + one.took >= to);
  const runs = [...workers.values()].flatMap((worker) => [...worker.traces.values()].flatMap(({ steps }) => steps.filter(({ kind }) => kind === "lane")));
  const whole = runs.filter((run) => run.from >= from && run.to <= to);
  if (!came.length || !whole.length) return;
  const servers = Math.min(AT_ONCE, [...workers.values()].reduce((sum, { state }) => sum + state.cpu_lane.threads, 0));
  const service = mean(whole.map((run) => run.to - run.from));
  const times = came.map(age).sort((a, b) => a - b);
  const busy = runs.reduce((sum, run) => sum + overlap(run.from, run.to, from, to), 0) / (WINDOW_MS * servers);
  const expected = (rate * service) / 1000 / servers;
  points.push({ load: expected, ms: mean(times) });
  points.splice(0, points.length - MOST_POINTS);
  draw(service);
  const rows = [
    ["utilisation, λS/c", percent(expected), percent(busy)],
    ["requests inside, L = λW", ((came.length / WINDOW_MS) * mean(times)).toFixed(2), inside.toFixed(2)],
    ["mean time inside, W", expected < 1 ? milliseconds(waited(service, expected)) : "without end", milliseconds(mean(times))],
    ["p99 of the time inside", "–", milliseconds(times[Math.min(times.length - 1, Math.floor(times.length * 0.99))])],
  ];
  $("arrivals-figures").replaceChildren(...rows.map(([name, ...cells]) => element("tr", {}, element("th", { scope: "row" }, name), ...cells.map((cell) => element("td", {}, cell)))));
  $("arrivals-said").textContent = `λ = ${(came.length / (WINDOW_MS / 1000)).toFixed(1)} a second came, S = ${milliseconds(service)}, c = ${servers}.`;
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
const overlap = (from, to, start, end) => Math.max(0, Math.min(to, end) - Math.max(from, start));
const percent = (share) => `${Math.round(share * 100)} %`;

/** The time inside a queue with one server, Poisson arrivals and equal services: M/D/1, by Pollaczek and Khinchine. */
const waited = (service, load) => service + (service * load) / (2 * (1 - load));

function draw(service) {
  const shape = (tag, attributes) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const x = (load) => (Math.min(load, 1.2) / 1.2) * WIDTH;
  const y = (ms) => HEIGHT - (Math.log(Math.min(Math.max(ms, 10), TOP_MS) / 10) / Math.log(TOP_MS / 10)) * HEIGHT;
  const curve = Array.from({ length: 99 }, (_, at) => `${x(at / 100).toFixed(1)},${y(waited(service, at / 100)).toFixed(1)}`);
  $("arrivals-chart").replaceChildren(
    shape("line", { x1: x(1), x2: x(1), y1: 0, y2: HEIGHT, class: "full" }),
    shape("polyline", { points: curve.join(" "), class: "predicted" }),
    ...points.map(({ load, ms }) => shape("circle", { cx: x(load).toFixed(1), cy: y(ms).toFixed(1), r: 3 })),
  );
}
