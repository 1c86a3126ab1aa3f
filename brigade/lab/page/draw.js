// Draws time as it passes: the lanes of the workers and the row of pings, on one axis.

import { now, pings } from "./ping.js";
import { muteWord } from "./words.js";

export const LATE_MS = 500; // the axis ends here before now, when every worker has told what it did
const SILENT_MS = 900;
const PX_A_SECOND = 92;
const ROW_PX = 19;
const colours = {};
let blockedMs = 100;

export const setBlockedMs = (ms) => (blockedMs = ms);

export function readColours() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ["paper", "muted", "line", "outside", "waiting", "loop", "lane", "thread", "process", "blocked", "hush"]) {
    colours[name] = style.getPropertyValue(`--${name}`).trim();
  }
  colours.font = `11px ${style.getPropertyValue("--sans")}`;
}

/** How much time a track of this width shows. */
export const spanMs = (width) => Math.min(14, Math.max(4, width / PX_A_SECOND)) * 1000;

/** A canvas in device pixels, drawn in CSS pixels, with the axis of time that all share. */
function begin(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  const end = now() - LATE_MS;
  const span = spanMs(width);
  const x = (at) => width - ((end - at) / span) * width;
  context.fillStyle = colours.line;
  for (let second = Math.ceil((end - span) / 1000) * 1000; second <= end; second += 1000) {
    context.fillRect(Math.round(x(second)), 0, 1, height);
  }
  return { context, width, height, x, start: end - span, end };
}

export function drawLane(canvas, worker) {
  const { context, width, height, x, start, end } = begin(canvas);
  const rows = Math.max(Math.floor((height - 8) / ROW_PX), worker.rows.length, 1);
  const row = (height - 8) / rows;
  const thick = Math.max(1.5, Math.min(12, row - 4));
  for (const trace of worker.traces.values()) {
    if ((trace.to ?? end) < start || trace.left > end) continue;
    const middle = 4 + (trace.row + 0.5) * row;
    const bar = (from, to, thickness, colour) => {
      const left = x(Math.max(from, start - 1000));
      context.fillStyle = colour;
      context.beginPath();
      context.roundRect(left, middle - thickness / 2, Math.max(1.5, x(Math.min(to, end)) - left), thickness, Math.min(3, thickness / 2));
      context.fill();
    };
    if (trace.left < trace.from) bar(trace.left, trace.from, Math.max(1, thick / 6), colours.outside);
    bar(trace.from, trace.to ?? end, Math.max(1, thick / 2.6), colours.waiting);
    for (const step of trace.steps) {
      const blocked = step.kind === "loop" && step.to - step.from >= blockedMs;
      bar(step.from, step.to, thick, colours[blocked ? "blocked" : step.kind] ?? colours.loop);
    }
  }
  if (worker.heardAt && end - worker.heardAt > SILENT_MS - LATE_MS) drawSilence(context, x(worker.heardAt), width, height, muteWord(worker));
}

/** A worker whose loop stands still cannot tell so: all there is to show is that nothing comes. */
function drawSilence(context, from, width, height, word) {
  context.fillStyle = colours.hush;
  context.fillRect(Math.max(0, from), 0, width, height);
  if (width - from < 70) return;
  context.fillStyle = colours.blocked;
  context.font = colours.font;
  context.textAlign = "right";
  context.fillText(word, width - 8, height - 8);
}

const LEAST_MS = 0.5;
const MOST_MS = 3000;
const SCALE = { 1: "1 ms", 10: "10", 100: "100", 1000: "1 s" };
const share = (ms) => Math.log(Math.max(ms, LEAST_MS) / LEAST_MS) / Math.log(MOST_MS / LEAST_MS);

/** On a logarithmic scale, or a millisecond would not be seen beside a second. */
export function drawPings(canvas) {
  const { context, height, x, start, end } = begin(canvas);
  const y = (ms) => height - 3 - Math.min(1, share(ms)) * (height - 8);
  for (const ms of Object.keys(SCALE)) {
    context.fillStyle = colours.line;
    context.fillRect(0, Math.round(y(ms)), canvas.clientWidth, 1);
  }
  for (const one of pings) {
    if (one.at < start || one.at > end) continue;
    const ms = one.took ?? now() - one.at;
    context.fillStyle = ms >= blockedMs ? colours.blocked : ms >= 10 ? colours.lane : colours.loop;
    context.beginPath();
    context.roundRect(x(one.at) - 1.25, y(ms), 2.5, height - y(ms), 1.25);
    context.fill();
  }
  context.font = colours.font;
  context.textAlign = "left";
  context.lineWidth = 4;
  context.strokeStyle = colours.paper;
  context.fillStyle = colours.muted;
  for (const [ms, label] of Object.entries(SCALE)) {
    context.strokeText(label, 2, y(ms) + 4);
    context.fillText(label, 2, y(ms) + 4);
  }
}

/** The loop's lag of the last ten seconds, on the scale of the pings. */
export function drawLag(canvas, lags) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  const end = now() - LATE_MS;
  for (const { at, ms } of lags) {
    const tall = Math.max(1, Math.min(1, share(ms)) * height);
    context.fillStyle = ms >= blockedMs ? colours.blocked : colours.muted;
    context.fillRect(width - ((end - at) / 10_000) * width, height - tall, 1.5, tall);
  }
}
