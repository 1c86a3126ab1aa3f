// What can be tried: one small, bounded burst of requests to one of the lab's routes.

import { now, percentile, settled } from "./ping.js";

export const TOTAL = 20;
export const AT_ONCE = 5; // of the six connections a browser opens to one server, the stream of events has one
export const MS = 200;
const BEFORE_MS = 8000;

let quietSince = now() + 1000; // the first pings open connections

/** When each request left this browser, by its id: the worker knows only when it came to read it. */
export const departures = new Map();

export const groups = [
  {
    name: "Sleep",
    experiments: [
      { path: "sleep/awaited", label: "awaited", during: "Everyone waits at once: the loop is free, and takes the next request while these sleep." },
      { path: "sleep/blocking", label: "blocking", during: "Each sleep holds its worker’s loop. All others stand at the door until it is over, your ping too." },
    ],
  },
  {
    name: "CPU",
    experiments: [
      { path: "cpu/on-loop", label: "on the loop", during: "There is nothing to await in a calculation: the loop stands still as long as it takes." },
      { path: "cpu/in-threadpool", label: "in the thread pool", during: "The loop turns, but it shares one GIL with every busy thread: your ping gets slower." },
      { path: "cpu/in-lane", label: "in the lane", during: "One calculation at a time beside the loop, the rest in a short queue: your ping hardly notices." },
      { path: "cpu/in-process", label: "in a process", during: "A process has a GIL of its own. The first request waits while it starts." },
      { path: "cpu/in-job", label: "as a job", during: "Answered at once, because a runner does the work later: your ping does not notice." },
    ],
  },
  {
    name: "I/O",
    experiments: [
      { path: "io/db", label: "database", during: "Postgres is busy for each of these, the loop is not." },
      { path: "io/cache", label: "cache", during: "Redis keeps each of these waiting, and the loop goes on." },
      { path: "io/http", label: "HTTP", during: "The service asks itself. Each request is two: one that waits for the other." },
      { path: "io/file", label: "file", during: "A file cannot be awaited, so a thread waits for it." },
      { path: "io/all", label: "all four at once", during: "Four kinds of waiting in each request, and it takes as long as one." },
    ],
  },
];

export const experimentOf = (path) => groups.flatMap((group) => group.experiments).find((one) => one.path === path);

/** Send the burst. Resolves to what it took and what it did to the ping. */
export async function run(path) {
  await settled(quietSince);
  const began = now();
  const before = percentile(0.99, Math.max(quietSince, began - BEFORE_MS), began);
  let left = TOTAL;
  let refused = 0;
  async function client() {
    while (left-- > 0) refused += (await send(path)) ? 0 : 1;
  }
  await Promise.all(Array.from({ length: AT_ONCE }, client));
  const ended = now();
  await new Promise((done) => setTimeout(done, 100)); // for the last pings to come back
  quietSince = now();
  return { path, tookMs: ended - began, refused, before, during: percentile(0.99, began, ended) };
}

async function send(path) {
  const id = `lab-${Math.random().toString(36).slice(2)}`;
  departures.set(id, now());
  if (departures.size > 500) departures.delete(departures.keys().next().value);
  try {
    // Each on a new connection, so that they spread over the workers as many clients would.
    const answer = await fetch(`lab/${path}?ms=${MS}&close=true`, { headers: { "X-Request-ID": id }, cache: "no-store" });
    await answer.arrayBuffer();
    return answer.ok;
  } catch {
    return false;
  }
}
