// Plays a recording on the lab's page: stands in for its clock, its EventSource and its fetch, and asks no server.

const { made, plan, idle, bursts, arrivals } = JSON.parse(document.getElementById("recording").textContent);
const MOST_MS = 100; // in one frame. There are no frames while nobody looks, and then the clock stands still
const BESIDE_MS = 50; // from one ping to the next
const BETWEEN_MS = 2000; // from one step of the tour to the next

// The clock. Whatever waits for an answer goes on at the moment of that answer, so that every figure is as recorded.
let time = 0;
let playing = true;
let last = null;
let timers = 0;
const due = new Map();
const turn = new MessageChannel();

function later(call, after = 0, every = null) {
  due.set(++timers, { call, at: time + Math.max(0, after), every });
  return timers;
}

async function advance(until) {
  for (;;) {
    let next = null;
    for (const [id, { at }] of due) if (at <= until && !(due.get(next)?.at <= at)) next = id;
    if (next === null) break;
    const one = due.get(next);
    time = Math.max(time, one.at);
    if (one.every) one.at += one.every;
    else due.delete(next);
    one.call();
    await new Promise((done) => {
      turn.port1.onmessage = done;
      turn.port2.postMessage(null);
    });
  }
  time = until;
}

async function frame(at) {
  const passed = Math.min(MOST_MS, at - (last ?? at));
  last = at;
  if (playing) await advance(time + passed);
  requestAnimationFrame(frame);
}

const now = () => performance.timeOrigin + time;
performance.now = () => time;
window.setTimeout = (call, after) => later(call, after);
window.setInterval = (call, every) => later(call, every, every);
window.clearTimeout = window.clearInterval = (id) => due.delete(id);

// What is told: a burst once it is asked for, and between bursts the idle seconds, again and again.
let source = null;
let told = 0;
let current = null;
let played = 0;

function play(part) {
  const mine = { ...part, began: now(), ids: [], pinged: 0, number: ++played };
  current = mine;
  const tells = () => current === mine || bursts.includes(part);
  for (const [at, kind, data] of part.events) later(() => tells() && source?.tell(kind, moved(kind, data, mine)), at);
  later(() => current === mine && play(idle), part.lasts);
}

/** The same event as if it happened now, to the requests that this page has sent. */
function moved(kind, data, { began, ids, number }) {
  if (kind === "workers") return data;
  const at = (ms) => (ms === null ? null : ms + began);
  const steps = (one) => one.steps.map(([name, from, to]) => [name, at(from), at(to)]);
  return {
    ...data,
    now: at(data.now),
    requests: data.requests.map((one) => ({ ...one, id: ids[one.id] ?? `${number} ${one.id}`, from: at(one.from), to: at(one.to), steps: steps(one) })),
    incidents: data.incidents.map((one) => ({ ...one, at: one.at + began / 1000 })),
  };
}

window.EventSource = class extends EventTarget {
  static CLOSED = 2;

  constructor() {
    super();
    source = this;
    later(() => {
      if (source !== this) return;
      this.onopen();
      this.tell("plan", { ...plan, jobs: false }); // the tour has none
    });
  }

  tell(kind, data) {
    this.dispatchEvent(new MessageEvent(kind, { data: JSON.stringify(data), lastEventId: `${++told}-0` }));
  }

  close() {
    if (source === this) source = null;
  }
};

/** Each request of a burst is answered when the recorded one was; pings take as long as those recorded, in their order. */
window.fetch = (address, { headers } = {}) => {
  const path = address.split("?")[0];
  const [after, ok] = path === "livez" ? ping() : headers ? request(path, headers["X-Request-ID"]) : arrival();
  return new Promise((done) => later(() => done({ ok, arrayBuffer: async () => null }), after));
};

function ping() {
  const at = now() - current.began;
  const last = current.pings.length - 1;
  while (current.pinged < last && current.pings[current.pinged][0] < at - 2 * BESIDE_MS) current.pinged += 1;
  const [sent, took] = current.pings[current.pinged];
  if (current.pinged < last && sent < at + BESIDE_MS) current.pinged += 1;
  return [took, true];
}

function request(path, id) {
  if (current.path !== path || current.ids.length === current.answers.length) {
    const index = bursts.findIndex((burst) => burst.path === path);
    bursts.push(...bursts.splice(index, 1)); // the next time it is another recorded one, if there is one
    play(bursts.at(-1));
  }
  const [ended, ok] = current.answers[current.ids.push(id) - 1];
  return [current.began + ended - now(), ok];
}

/** The arrivals of a rate come at the moments at which they came, as their numbers do: see seed.js. */
function arrival() {
  const [ended, ok] = current.answers?.[current.ids.push(null) - 1] ?? [0, false];
  return [current.began + ended - now(), ok];
}

function move({ target: slider }) {
  const part = arrivals.find(({ rate }) => rate === Number(slider.value));
  if (!part) return;
  play(part);
  const mine = current;
  later(() => {
    if (current !== mine) return;
    slider.value = 0;
    slider.dispatchEvent(new Event("input"));
  }, part.arrives);
}

// The line that says what this is, and its two buttons. What was not recorded is not offered.
const wait = (ms) => new Promise((done) => later(done, ms));
const running = () => document.querySelector("[data-running]");

async function tour({ currentTarget: button }) {
  if (button.hasAttribute("aria-disabled")) return;
  button.setAttribute("aria-disabled", "true");
  for (const press of document.querySelectorAll("#steps .press")) {
    while (running()) await wait(100);
    press.click();
    while (running()) await wait(100);
    await wait(BETWEEN_MS);
  }
  button.removeAttribute("aria-disabled");
  button.textContent = "Play the tour again";
}

function pause({ currentTarget: button }) {
  playing = !playing;
  button.textContent = playing ? "Pause" : "Go on";
}

function show() {
  const day = new Date(made).toLocaleDateString("en-GB", { dateStyle: "long", timeZone: "UTC" });
  const { workers, cpus } = plan.plan;
  document.getElementById("recorded").textContent =
    `This is a recording of ${day}, of ${workers.value} workers on ${cpus.value} cores. It asks no server.`;
  for (const button of document.querySelectorAll("#experiments button")) {
    button.hidden = !bursts.some(({ path }) => path === `lab/${button.dataset.path}`);
  }
  for (const group of document.querySelectorAll("#experiments .group:not(:has(button:not([hidden])))")) group.hidden = true;
  const slider = document.getElementById("arrivals-rate");
  const rates = arrivals.map(({ rate }) => rate);
  slider.step = rates[0];
  slider.max = rates.at(-1);
  slider.closest("section").hidden = !rates.length;
  document.getElementById("tour").addEventListener("click", tour);
  document.getElementById("pause").addEventListener("click", pause);
}

addEventListener("input", move, true);
play(idle);
later(show);
requestAnimationFrame(frame);
