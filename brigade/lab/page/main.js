// Puts the page together: events in, a drawing each frame, figures twice a second.

import { showArrivals } from "./arrivals.js";
import { drawPings, readColours, setBlockedMs } from "./draw.js";
import { hear, setWorkers } from "./model.js";
import { startPings } from "./ping.js";
import { follow } from "./stream.js";
import { isRunning, showSources, showTour } from "./tour.js";
import { $, drawLanes, say, showConnection, showFigures, showIncidents, showLanes, showPlan } from "./view.js";
import { idleSentence } from "./words.js";

const FIGURES_MS = 500;
const SENTENCE_STAYS_MS = 12_000;
const calm = matchMedia("(prefers-reduced-motion: reduce)");

let saidAt = -SENTENCE_STAYS_MS;
let drawnAt = 0;

readColours();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", readColours);
showTour();
showArrivals();
startPings();

follow({
  plan({ plan, blocked_ms, jobs, sources }) {
    setBlockedMs(blocked_ms);
    document.querySelector('[data-path="cpu/in-job"]').hidden = !jobs;
    showPlan(plan);
    showSources(sources);
  },
  workers({ workers, complete }) {
    if (setWorkers(workers)) showLanes();
    showConnection("live", complete);
  },
  work(work) {
    hear(work);
    if (work.incidents.length) showIncidents();
  },
  connection: (state) => showConnection(state),
});

/** Thirty frames a second are smooth for bars this slow; two for those who asked for less motion. */
function frame(at) {
  requestAnimationFrame(frame);
  if (at - drawnAt < (calm.matches ? 500 : 30)) return;
  drawnAt = at;
  drawLanes();
  drawPings($("ping-canvas"));
}
requestAnimationFrame(frame);

setInterval(() => {
  const figures = showFigures();
  if (isRunning()) saidAt = performance.now();
  else if (performance.now() - saidAt > SENTENCE_STAYS_MS) say(idleSentence(figures));
}, FIGURES_MS);
