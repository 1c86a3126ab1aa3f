// Times a cheap request again and again, whether or not the last one has come back: a frozen server hides nothing.

const EVERY_MS = 50;
const MOST_AT_ONCE = 5;
const KEPT_MS = 30_000;

/** Each ping: `at` it began (epoch ms), and `took` ms, or null while it is under way. */
export const pings = [];

async function ping() {
  const began = performance.now();
  const one = { at: performance.timeOrigin + began, took: null };
  pings.push(one);
  try {
    // Browsers keep connections with and without credentials apart, so no experiment takes the ping's six away.
    await fetch("livez", { cache: "no-store", credentials: "omit" });
    one.took = performance.now() - began;
  } catch {
    pings.splice(pings.indexOf(one), 1); // nobody there: the connection's own lamp says so
  }
}

export function startPings() {
  setInterval(() => {
    const oldest = now() - KEPT_MS;
    while (pings.length && pings[0].at < oldest) pings.shift();
    const underWay = pings.filter((one) => one.took === null).length;
    if (!document.hidden && underWay < MOST_AT_ONCE) ping();
  }, EVERY_MS);
}

export const now = () => performance.timeOrigin + performance.now();

/** Of the pings begun in that time; one under way counts as old as it is. */
export function percentile(share, from, to = now()) {
  const times = pings
    .filter((one) => one.at >= from && one.at < to)
    .map((one) => one.took ?? now() - one.at)
    .sort((a, b) => a - b);
  return times.length ? times[Math.min(times.length - 1, Math.floor(times.length * share))] : null;
}

/** Resolves once there are enough of them since `from` to compare with. */
export async function settled(from) {
  const enough = () => pings.filter((one) => one.at >= from).length >= 20;
  for (let tries = 0; tries < 30 && !enough(); tries++) await new Promise((done) => setTimeout(done, 100));
}
