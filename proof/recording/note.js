// Runs before the live page's own code, and notes what the page is told and when: the events, and the answers to its requests.

const noted = (window.noted = { events: [], asked: [], moved: [] });
const known = new Set(); // another worker begins with what was told already
const epoch = () => performance.timeOrigin + performance.now();

addEventListener("input", () => noted.moved.push(epoch()), true); // the slider of arrivals

window.EventSource = class extends EventSource {
  constructor(address) {
    super(address);
    for (const kind of ["plan", "workers", "work"]) {
      this.addEventListener(kind, ({ data, lastEventId }) => {
        if (kind === "work" && known.has(lastEventId)) return;
        known.add(lastEventId);
        noted.events.push([epoch(), kind, JSON.parse(data)]);
      });
    }
  }
};

const ask = window.fetch;
window.fetch = async (address, options) => {
  const one = { path: address.split("?")[0], id: options.headers?.["X-Request-ID"] ?? null, sent: epoch(), ended: null, ok: false };
  noted.asked.push(one);
  try {
    const answer = await ask(address, options);
    const read = answer.arrayBuffer.bind(answer);
    answer.arrayBuffer = () => read().finally(() => (one.ended = epoch()));
    one.ok = answer.ok;
    return answer;
  } finally {
    one.ended = epoch();
  }
};
