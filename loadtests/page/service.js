// The tab "Service": the line on top, charts by worker, the table of workers, and what is left of the runs before.

import { chart } from "./charts.js";
import { element, prose } from "./dom.js";

const CHARTS = [
  ["Ping (ms)", (point) => ({ ping: point.ping_ms })],
  ["Requests in flight, by worker", byWorker("in_flight")],
  ["CPU (% of a core), by worker", byWorker("cpu_percent")],
  ["Event loop late (ms), by worker", byWorker("loop_lag_ms")],
  ["Answers a second, by worker", byWorker("answers")],
];
// Where visitors do not wait: the queue grows for as long as more arrive than are answered.
const ARRIVALS = ["Arrivals and answers a second", (point) => ({ arrivals: point.arrivals, answers: point.answered })];
const COLUMNS = [
  ["Worker", "worker"],
  ["State", "words"],
  ["In flight", "in_flight"],
  ["Streams", "streams"],
  ["Answers", "answers"],
  ["Share", "share"],
  ["CPU (%)", "cpu_percent"],
  ["Loop late (ms)", "loop_lag_ms"],
  ["CPU lane", "cpu_lane"],
  ["Memory (MB)", "memory_mb"],
  ["Id", "id"],
];
const RUN_COLUMNS = [
  ["When", (run) => new Date(run.at).toLocaleTimeString()],
  ["Workers", (run) => run.workers],
  ["CPUs, lane threads", (run) => `${run.cpus}, ${run.lane_threads}`],
  ["Users", (run) => (run.arrivals_per_s ? `${run.arrivals_per_s}/s arrive` : run.users)],
  ["Answers a second", (run) => run.answers_per_s],
  ["Answer p50, p99 (ms)", (run) => [run.p50_ms, run.p99_ms].map((ms) => ms ?? "–").join(", ")],
  ["Ping p50 (ms)", (run) => run.ping_p50_ms ?? ""],
  ["Ping p99 (ms)", (run) => run.ping_p99_ms ?? ""],
  ["In flight", (run) => run.in_flight],
  ["CPU of each worker (%)", (run) => run.cpu_percent.join(", ")],
  ["Locust's CPU (%)", (run) => `${run.generator_cpu_percent}${run.generator_limits ? " (the limit)" : ""}`],
];
const panel = element("section", { id: "service", "aria-label": "Service" });
const parts = Object.fromEntries(
  ["line", "notes", "about", "charts", "workers", "runs"].map((name) => [name, element("div", { class: name })]),
);
parts.line.setAttribute("role", "status");
panel.append(...Object.values(parts));

function byWorker(name) {
  return (point) => Object.fromEntries(Object.entries(point.workers).map(([number, of]) => [number, of[name]]));
}

export function showService(state) {
  const tabs = document.querySelector("[role=tablist]");
  const own = [...(tabs?.querySelectorAll("[role=tab]") ?? [])].find((tab) => tab.textContent === "Service");
  const container = tabs?.closest(".MuiContainer-root");
  if (!own || !container) return;
  if (panel.parentElement !== container) container.append(panel);
  panel.hidden = own.getAttribute("aria-selected") !== "true";
  if (panel.hidden || panel.shown === state) return;
  panel.shown = state;
  parts.line.replaceChildren(...prose(state.line));
  parts.notes.replaceChildren(...state.notes.map((note) => element("p", {}, note)));
  parts.about.replaceChildren(element("h2", {}, ...prose(state.title)), element("p", {}, ...prose(state.look_for)));
  const charts = state.points.some((point) => point.arrivals) ? [ARRIVALS, ...CHARTS] : CHARTS;
  parts.charts.replaceChildren(...stages(state.marks), ...charts.map(([title, read]) => chart(title, state.points, state.marks, read)));
  const rows = state.workers.map((row) => COLUMNS.map(([, name]) => row[name]));
  parts.workers.replaceChildren(table("Workers now", COLUMNS, rows, (at) => state.workers[at].state));
  showRuns(state.comparison);
}

function showRuns(comparison) {
  const groups = comparison.map(({ does, says, runs }) =>
    element(
      "article",
      {},
      element("h3", {}, ...prose(does)),
      element("p", { class: "says" }, says),
      table(does, RUN_COLUMNS, runs.map((run) => RUN_COLUMNS.map(([, read]) => read(run)))),
    ),
  );
  const links = element("p", {}, "Download all rows: ", link("runs.csv"), " ", link("runs.json"));
  const title = element("h2", {}, "What is left of each run");
  parts.runs.replaceChildren(...(groups.length ? [title, ...groups, links] : []));
}

/** What the numbers in the charts stand for. */
function stages(marks) {
  if (marks.length < 2) return [];
  return [element("p", { class: "stages" }, ...prose(marks.map(({ words }) => words).join(" · ")))];
}

const link = (name) => element("a", { href: `./service/${name}` }, name);

function table(name, columns, rows, stateOf = () => "") {
  const head = element("tr", {}, ...columns.map(([title]) => element("th", { scope: "col" }, title)));
  const body = rows.map((row, at) =>
    element("tr", { "data-state": stateOf(at) }, ...row.map((value) => element("td", {}, `${value}`))),
  );
  return element("table", { "aria-label": name }, element("thead", {}, head), element("tbody", {}, ...body));
}
