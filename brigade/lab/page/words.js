// What the page says in words: how long, what a worker is, and the sentence on top.

import { dead, workers } from "./model.js";
import { now } from "./ping.js";

export const milliseconds = (ms) => {
  if (ms === null || ms === undefined) return "–";
  if (ms < 10) return `${ms.toFixed(1)} ms`;
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
};
const DEAD_MS = 10_000; // a worker that died is spoken of for so long
const MUTE_MS = 1500; // states come every 0.4 s

/** Frozen: the loop does not turn. Silent: the process itself does not run, so another worker says it. */
export const stateWords = ({ state, stalled_ms: ms, silent }) =>
  state === "frozen" ? `${silent ? "silent" : "frozen"} for ${milliseconds(ms)}` : state;
const WHY = {
  frozen: ": its loop does not turn",
  silent: ": its process is stopped",
  draining: ": it finishes what it has and leaves",
  starting: "",
};

/** Without news of its work and of its state it is the only worker, and frozen. With its state it is only too busy to tell more. */
export const muteWord = ({ state, stateAt }) => (state.silent ? "silent" : state.state === "frozen" || now() - stateAt > MUTE_MS ? "frozen" : "no news");
function muteSentence(worker) {
  const since = milliseconds(now() - worker.heardAt);
  if (muteWord(worker) === "frozen") return `Worker ${worker.state.pid} is frozen for ${since}${WHY.frozen}.`;
  return `Worker ${worker.state.pid} has not told what it does for ${since}: its loop is late for everything.`;
}

export function idleSentence({ p99, rate }) {
  const died = dead.find((one) => now() - one.at < DEAD_MS);
  if (died) return `Worker ${died.pid} is dead: its process ended ${milliseconds(now() - died.at)} ago.`;
  const quietMs = now() - Math.max(...[...workers.values()].map((worker) => worker.stateAt));
  if (workers.size > 1 && quietMs > MUTE_MS)
    return `No worker has told anything for ${milliseconds(quietMs)}: the one that this page follows does not turn. Others are asked.`;
  const odd = [...workers.values()].find((worker) => worker.state.state !== "serving");
  if (odd) return `Worker ${odd.state.pid} is ${stateWords(odd.state)}${WHY[odd.state.silent ? "silent" : odd.state.state]}.`;
  const mute = [...workers.values()].find((worker) => worker.heardAt && now() - worker.heardAt > MUTE_MS);
  if (mute) return muteSentence(mute);
  if (rate < 0.5) return "All loops turn freely, and wait for something to do. Press a button and watch the bars.";
  return `${Math.round(rate)} requests a second, and a ping takes ${milliseconds(p99)} at worst.`;
}
