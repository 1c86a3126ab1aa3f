// The page around the drawings: lanes and their figures, names of culprits, and the sentence that says what is seen.

import { drawLag, drawLane, LATE_MS, spanMs } from "./draw.js";
import { fairness, incidents, requestsPerSecond, workers } from "./model.js";
import { now, percentile } from "./ping.js";
import { milliseconds, stateWords } from "./words.js";

export const $ = (id) => document.getElementById(id);
const lanes = new Map();
const RUN_MS = 1500; // blocks this close together, at the same line, share a label

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const plural = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;
const short = (place) => (place ? `${place.file.split("/").at(-1)}:${place.line}` : "");

export function showPlan(plan) {
  const { workers: count, db_pool: pool, cpu_lane_threads: threads } = plan;
  const why = count.why.replace(/^[A-Z_]+: /, "");
  $("plan").textContent =
    `${plural(count.value, "worker")}: ${why} (${count.source}). Each has ${plural(pool.value, "Postgres connection")} and ` +
    `${plural(threads.value, "thread")} in its CPU lane.`;
}

export function showConnection(state, complete = true) {
  const words = { live: `following ${plural(workers.size, "worker")}`, lost: "connection lost, trying again", asleep: "asleep" };
  const lamp = state === "live" && !complete ? "partial" : state;
  const said = lamp === "partial" ? "Redis is away: one worker speaks for itself" : words[state];
  $("connection").dataset.state = lamp;
  if ($("connection").lastChild.textContent !== said) $("connection").lastChild.textContent = said;
}

const FIGURES = [
  ["requests", (_, worker) => perSecond(worker.requestsSince(now() - 2000) / 2)],
  ["in flight", (s) => s.in_flight],
  ["CPU", (s) => `${Math.round(s.cpu_percent)} %`],
  ["CPU lane", (s) => `${s.cpu_lane.running}${s.cpu_lane.waiting ? `, ${s.cpu_lane.waiting} wait` : ` of ${s.cpu_lane.threads}`}`],
  ["pool", (s) => `${s.db_pool.in_use} of ${s.db_pool.max}`],
  ["memory", (s) => `${Math.round(s.rss_mb)} MB`],
  ["loop lag, p99", (s) => milliseconds(s.loop_lag_ms.p99)],
];
const perSecond = (rate) => `${rate.toFixed(rate < 10 ? 1 : 0)}/s`;

function makeLane(worker) {
  const figures = FIGURES.map(([name]) => element("div", {}, element("dt", {}, name), element("dd")));
  const lag = element("canvas", { class: "lag", "aria-hidden": "true" });
  figures.at(-1).append(lag);
  const { pid, host } = worker.state;
  const canvas = element("canvas", { role: "img", "aria-label": `The last seconds of worker ${pid}` });
  const culprits = element("div", { class: "culprits" });
  const state = element("p", { class: "state" });
  const about = element(
    "div",
    { class: "about" },
    element("h3", {}, `Worker ${pid}`),
    element("p", { class: "host" }, host),
    state,
    element("dl", {}, ...figures),
  );
  const root = element("li", { class: "lane", "data-worker": worker.id }, about, element("div", { class: "track" }, canvas, culprits));
  return { root, canvas, culprits, lag, state, values: figures.map((one) => one.children[1]), labels: new Map() };
}

export function showLanes() {
  for (const [id, lane] of lanes) if (!workers.has(id)) lane.root.remove(), lanes.delete(id);
  for (const [id, worker] of workers) {
    if (lanes.has(id)) continue;
    lanes.set(id, makeLane(worker));
    $("lanes").append(lanes.get(id).root);
  }
  $("lanes").dataset.density = lanes.size <= 3 ? "roomy" : lanes.size <= 8 ? "close" : "tight";
}

/** Each frame. */
export function drawLanes() {
  for (const [id, lane] of lanes) {
    const worker = workers.get(id);
    drawLane(lane.canvas, worker);
    placeCulprits(lane, worker);
  }
}

/** The names above the red bars: text that can be read and copied, carried along by the axis. */
function placeCulprits(lane, worker) {
  const width = lane.canvas.clientWidth;
  const span = spanMs(width);
  const end = now() - LATE_MS;
  const labels = new Map();
  const runs = new Map();
  for (const block of worker.blocks) {
    if (block.at + block.ms < end - span) continue;
    const key = `${block.cause} ${short(block.place)}`;
    const last = runs.get(key);
    if (last && block.at - last.until < RUN_MS) {
      last.until = block.at + block.ms;
      last.times += 1;
      continue;
    }
    const run = { until: block.at + block.ms, place: block.place, cause: block.cause, times: 1 };
    runs.set(key, run);
    labels.set(block.at, run);
  }
  for (const [at, label] of lane.labels) if (!labels.has(at)) label.remove(), lane.labels.delete(at);
  let room = width;
  for (const [at, { place, cause, times }] of [...labels].reverse()) {
    let label = lane.labels.get(at);
    if (!label) {
      label = element("span", { class: "culprit", "data-cause": cause });
      if (place) label.title = `${place.file}:${place.line} in ${place.function}`;
      lane.labels.set(at, label);
      lane.culprits.append(label);
    }
    const text = [cause, short(place), times > 1 && `${times} times`].filter(Boolean).join(" · ");
    if (label.textContent !== text) label.textContent = text;
    const left = Math.max(0, width - ((end - at) / span) * width);
    // The newest has the room it needs; what does not fit beside it is in the list below.
    const shown = at <= end && (room === width || left + label.offsetWidth < room);
    label.style.visibility = shown ? "visible" : "hidden";
    const fits = Math.max(0, Math.min(left, room - label.offsetWidth - 4));
    label.style.transform = `translateX(${fits.toFixed(1)}px)`;
    if (shown) room = fits;
  }
}

/** Twice a second: what is read rather than watched. */
export function showFigures() {
  for (const [id, lane] of lanes) {
    const worker = workers.get(id);
    const values = FIGURES.map(([, read]) => read(worker.state, worker));
    lane.state.textContent = stateWords(worker.state);
    lane.state.dataset.state = worker.state.silent ? "silent" : worker.state.state;
    values.forEach((value, index) => (lane.values[index].textContent = value));
    drawLag(lane.lag, worker.lags);
    const blocked = worker.blocks.filter((block) => block.at > now() - 10_000);
    const held = blocked.length ? `, blocked ${plural(blocked.length, "time")}, lastly by ${short(blocked.at(-1).place) || blocked.at(-1).cause}` : "";
    lane.canvas.setAttribute("aria-label", `The last seconds of worker ${worker.state.pid}: ${values[0]}${held}`);
  }
  const p99 = percentile(0.99, now() - 3000);
  $("ping-p99").textContent = milliseconds(p99);
  $("ping-p99").dataset.level = p99 >= 100 ? "bad" : p99 >= 20 ? "fair" : "good";
  $("ping-canvas").setAttribute("aria-label", `Ping times of the last seconds, p99 ${milliseconds(p99)}`);
  const rate = requestsPerSecond();
  $("rate").textContent = perSecond(rate);
  showFairness();
  return { p99, rate };
}

function showFairness() {
  const { index, shares } = fairness();
  $("fairness").textContent = index === null ? "–" : index.toFixed(2);
  $("fairness").title = "Jain’s index of the last ten seconds: 1 when each worker had as many requests as any other";
  while ($("shares").children.length > shares.length) $("shares").lastChild.remove();
  while ($("shares").children.length < shares.length) $("shares").append(element("i"));
  shares.forEach((share, at) => ($("shares").children[at].style.flexGrow = index === null ? 1 : share));
}

export function showIncidents() {
  const rows = incidents.slice(0, 5).map((one) => {
    const where = one.place ? `${one.place.file}:${one.place.line}` : "no line of this service";
    const times = one.times > 1 ? `${one.times} times, up to ${milliseconds(one.longestMs)}` : milliseconds(one.longestMs);
    return element(
      "li",
      { "data-cause": one.cause },
      element("code", {}, where, one.place ? ` in ${one.place.function}` : ""),
      element("span", { class: "what" }, `${one.cause}, ${times}`),
      element("span", { class: "mend" }, `To mend it, ${one.mend}.`),
    );
  });
  if (rows.length) $("incidents").replaceChildren(...rows);
}

export function say(sentence) {
  if ($("seen").textContent !== sentence) $("seen").textContent = sentence;
}
