// What the page knows of each worker: its requests in rows that do not overlap, its lag, its figures, its incidents.

import { departures } from "./experiments.js";
import { now } from "./ping.js";

const KEPT_MS = 20_000;
const CLOCKS_AGREE_MS = 1500;

/** @type {Map<string, Worker>} */
export const workers = new Map();
/** Workers that died lately: `pid` and `at`. One that drained has left, and is not among them. */
export const dead = [];
/** Incidents by cause and place, the latest first. */
export const incidents = [];

class Worker {
  constructor(state) {
    this.id = state.id;
    this.traces = new Map();
    this.rows = []; // until when each is taken
    this.lags = []; // {at, ms}
    this.counts = []; // {at, count}
    this.blocks = []; // {at, until, place}
    this.heardAt = null; // its work
    this.stateAt = null; // its state, which a thread tells
    this.latencyMs = Infinity;
  }

  /** Clocks of other machines may differ; within what a message may take, they are taken to agree. */
  get skewMs() {
    return Math.abs(this.latencyMs) < CLOCKS_AGREE_MS ? 0 : this.latencyMs;
  }

  hear(work) {
    const received = now();
    const latency = received - work.now;
    if (Math.abs(latency) < Math.abs(this.latencyMs)) this.latencyMs = latency;
    this.heardAt = work.now + this.skewMs;
    this.lags.push({ at: this.heardAt, ms: work.lag_ms });
    this.counts.push({ at: this.heardAt, count: work.count });
    for (const request of work.requests) this.note(request);
    for (const incident of work.incidents) this.blame(incident);
    this.forget(received - KEPT_MS);
  }

  note(request) {
    const key = `${request.id} ${request.from}`;
    let trace = this.traces.get(key);
    if (!trace) {
      const from = request.from + this.skewMs;
      trace = { path: request.path, from, left: Math.min(from, departures.get(request.id) ?? from), steps: [] };
      trace.row = this.freeRow(trace.left);
      this.traces.set(key, trace);
    }
    trace.status = request.status;
    trace.to = request.to === null ? null : request.to + this.skewMs;
    this.rows[trace.row] = trace.to ?? Infinity;
    for (const [kind, from, to] of request.steps) trace.steps.push({ kind, from: from + this.skewMs, to: to + this.skewMs });
  }

  freeRow(from) {
    const row = this.rows.findIndex((until) => until <= from);
    return row >= 0 ? row : this.rows.length;
  }

  blame({ at, blocked_ms, cause, place, requests, seen, mend }) {
    const block = { at: at * 1000 + this.skewMs, ms: blocked_ms, cause, place, seen, mend, path: requests[0]?.[1] };
    if (this.blocks.some((known) => Math.abs(known.at - block.at) < 1)) return;
    this.blocks.push(block);
    const same = (known) => known.cause === cause && known.place?.file === place?.file && known.place?.line === place?.line;
    const index = incidents.findIndex(same);
    const known = index >= 0 ? incidents.splice(index, 1)[0] : { cause, place, mend, times: 0, longestMs: 0 };
    known.times += 1;
    known.longestMs = Math.max(known.longestMs, blocked_ms);
    known.path = block.path ?? known.path;
    known.at = Math.max(known.at ?? 0, block.at);
    incidents.unshift(known);
    incidents.sort((a, b) => b.at - a.at).splice(20);
  }

  forget(before) {
    for (const [key, trace] of this.traces) if ((trace.to ?? trace.from + KEPT_MS) < before) this.traces.delete(key);
    for (const list of [this.lags, this.counts]) while (list.length && list[0].at < before) list.shift();
    while (this.blocks.length > 50) this.blocks.shift();
    while (this.rows.length && this.rows.at(-1) < before) this.rows.pop();
  }

  requestsSince(from) {
    return this.counts.reduce((sum, one) => sum + (one.at >= from ? one.count : 0), 0);
  }
}

/** The live workers of now: the dead go, the new come. Whether either happened. */
export function setWorkers(states) {
  const before = [...workers.keys()].join();
  for (const [id, worker] of workers) {
    if (states.some((state) => state.id === id)) continue;
    if (worker.state.state !== "draining") dead.unshift({ pid: worker.state.pid, at: now() });
    workers.delete(id);
  }
  for (const state of states) {
    if (!workers.has(state.id)) workers.set(state.id, new Worker(state));
    workers.get(state.id).state = state;
    workers.get(state.id).stateAt = now();
  }
  return before !== [...workers.keys()].join();
}

export const hear = (work) => workers.get(work.worker)?.hear(work);

/** 1 when all workers had as many requests, 1/n when one of n had them all; null for too few to tell. */
export function fairness() {
  const shares = [...workers.values()].map((worker) => worker.requestsSince(now() - 10_000));
  const total = shares.reduce((sum, share) => sum + share, 0);
  if (total < 10 * shares.length) return { index: null, shares };
  return { index: total ** 2 / (shares.length * shares.reduce((sum, share) => sum + share ** 2, 0)), shares };
}

export function requestsPerSecond() {
  const seconds = 2;
  return [...workers.values()].reduce((sum, worker) => sum + worker.requestsSince(now() - seconds * 1000), 0) / seconds;
}
