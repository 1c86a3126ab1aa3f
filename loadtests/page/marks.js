// Writes the names of the stages into Locust's own charts, whose library is built without marks. A chart is where React
// keeps it, beside the element that it is drawn in, and knows where a moment is on its axis.

import { element } from "./dom.js";

const TOP_PX = 60;
const BOTTOM_PX = 80;
const ROW_PX = 12;
const ROWS = 4;
const APART_PX = 8;
const followed = new WeakSet();
let lines = [];

export function markCharts({ marks, now }) {
  const aheadMs = Date.now() - now * 1000; // of this browser's clock, which the charts go by
  lines = marks.map(({ at, words }) => ({ at: at * 1000 + aheadMs, words: words.replace(/`|^Stage | of \d+/g, "") }));
  for (const place of document.querySelectorAll("[_echarts_instance_]")) {
    const chart = chartOf(place);
    if (!chart || followed.has(chart)) continue;
    followed.add(chart);
    chart.on("rendered", () => mark(chart, place));
    mark(chart, place);
  }
}

function mark(chart, place) {
  const marks = lines.map(({ at, words }) => {
    const left = chart.convertToPixel({ xAxisIndex: 0 }, at);
    const made = element("div", { class: "stage-mark" }, element("span", {}, words));
    made.style.cssText = `left:${left}px;top:${TOP_PX}px;bottom:${BOTTOM_PX}px`;
    made.hidden = !(left > 0 && left < place.clientWidth);
    return made;
  });
  for (const old of place.querySelectorAll(".stage-mark")) old.remove();
  place.append(...marks);
  putInRows(marks.filter(({ hidden }) => !hidden));
}

/** A name that would stand in an earlier one goes a row lower. Where no row has room, its number stands below them. */
function putInRows(marks) {
  const ends = Array(ROWS).fill(-Infinity);
  for (const { offsetLeft: left, firstChild: name } of marks) {
    const free = ends.slice(0, ROWS).findIndex((end) => end <= left);
    const row = free < 0 ? ROWS : free;
    if (row === ROWS) name.textContent = name.textContent.replace(/:.*/, "");
    name.style.top = `${row * ROW_PX}px`;
    ends[row] = left + name.offsetLeft + name.offsetWidth + APART_PX;
  }
}

function chartOf(place) {
  const key = Object.keys(place).find((name) => name.startsWith("__reactFiber$"));
  const component = key && place[key].return; // React keeps two of it, and draws by one while it prepares the other
  for (const one of [component, component?.alternate]) {
    for (let hook = one?.memoizedState; hook; hook = hook.next) {
      if (typeof hook.memoizedState?.setOption === "function") return hook.memoizedState;
    }
  }
  return null;
}
