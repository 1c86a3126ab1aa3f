"""The tab "Workers" in Locust's web UI: what each worker of the service does, and which has too much of it.

Only the process with the web UI asks the service for its /workers.
"""

import json
import time
from collections import Counter, deque
from typing import Any

import gevent
import requests
from flask import Flask, Response, request
from locust import events
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from loadtests.options import option
from loadtests.served import served

KEY = "workers"
COLUMNS = {
    "worker": "Worker",
    "requests": "Requests",
    "share": "Share",
    "rate": "Requests/s",
    "in_flight": "In flight",
    "loop_lag_ms": "Loop lag p99 (ms)",
    "cpu_percent": "CPU (%)",
    "cpu_lane": "CPU lane",
    "memory_mb": "Memory (MB)",
}
RATE_OVER_S = 10
SATURATED_PERCENT = 90
"""Percent of a core, the limit of Locust's own warning. One Locust process is one core."""


class Watch:
    """Asks /workers once a second while a test runs."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.workers: list[dict[str, Any]] = []
        self.plan: dict[str, Any] = {}
        self.failure = "not asked yet"
        self._history: deque[tuple[float, Counter[str]]] = deque(maxlen=RATE_OVER_S + 1)

    def follow_for_ever(self) -> None:
        while True:
            gevent.sleep(1)
            runner = self.environment.runner
            if runner is not None and runner.state in {STATE_SPAWNING, STATE_RUNNING}:
                self._history.append((time.monotonic(), served.copy()))
                self._ask()
            else:
                self._history.clear()

    def _ask(self) -> None:
        try:
            base = option(self.environment, "ops_url") or self.environment.host or ""
            answer = requests.get(f"{base.rstrip('/')}/workers", timeout=3)
            answer.raise_for_status()
            self.workers, self.failure = answer.json()["workers"], ""
        except (requests.RequestException, KeyError, ValueError) as error:
            self.workers, self.failure = [], f"/workers: {error}"

    def rates(self) -> Counter[str]:
        """Requests a second of each worker, over the last seconds."""
        if len(self._history) < 2:
            return Counter()
        (then, before), (now, after) = self._history[0], self._history[-1]
        return Counter({worker: round((total - before[worker]) / (now - then)) for worker, total in after.items()})


def rows(watch: Watch) -> list[dict[str, Any]]:
    """One for all workers together, one for each, and one for each thing to be warned of."""
    states = {state["id"]: state for state in watch.workers}
    rates, total = watch.rates(), served.total()
    names = sorted({*states, *served})
    each = [_row(name, rates[name], total, states.get(name)) for name in names]
    share = f"fairness {_unfairness(list(states) or names):.2f} (max / mean)" if total else "-"
    summary = {
        "worker": f"All {len(states or names)} workers",
        "requests": total,
        "share": share,
        "rate": rates.total(),
        **{key: round(sum(state[key] for state in states.values()), 1) for key in ("in_flight", "cpu_percent")},
    }
    warnings = [{"worker": f"⚠ {sentence}"} for sentence in _warnings(watch)]
    return [dict.fromkeys(COLUMNS, "") | row for row in (*warnings, summary, *each)]


def _row(name: str, rate: int, total: int, state: dict[str, Any] | None) -> dict[str, Any]:
    counted = {"requests": served[name], "share": f"{served[name] / total:.1%}" if total else "-", "rate": rate}
    if state is None:
        return {"worker": f"{name} (gone)", **counted}
    lane = state["cpu_lane"]
    return {
        "worker": name,
        **counted,
        "in_flight": state["in_flight"],
        "loop_lag_ms": round(state["loop_lag_ms"]["p99"], 1),
        "cpu_percent": state["cpu_percent"],
        "cpu_lane": f"{lane['running']} of {lane['threads']} run, {lane['waiting']} wait",
        "memory_mb": state["rss_mb"],
    }


def _unfairness(names: list[str]) -> float:
    """The busiest worker's requests over the mean: 1 is fair."""
    counts = [served[name] for name in names]
    return max(counts) * len(counts) / max(1, sum(counts))


def _warnings(watch: Watch) -> list[str]:
    found = []
    busiest = max(generator_cpu(watch.environment), default=0)
    if busiest > SATURATED_PERCENT:
        found.append(
            f"Locust is the bottleneck ({busiest:.0f} % of a core): these figures are its own. Use --processes."
        )
    if watch.failure:
        found.append(watch.failure)
    if watch.environment.stats.total.num_requests and not served:
        found.append("The answers do not name their worker: set EXPOSE_WORKER on the service.")
    return found


def generator_cpu(environment: Environment) -> list[float]:
    runner = environment.runner
    if isinstance(runner, MasterRunner):
        return [client.cpu_usage for client in runner.clients.values()]
    return [runner.current_cpu_usage] if runner else []


@events.init.add_listener
def install(environment: Environment, **_: object) -> None:
    if environment.web_ui is None or isinstance(environment.runner, WorkerRunner):
        return
    watch = Watch(environment)
    gevent.spawn(watch.follow_for_ever)
    structure = [{"key": key, "title": title} for key, title in COLUMNS.items()]
    environment.web_ui.template_args |= {
        "extended_tabs": [{"title": "Workers", "key": KEY}],
        "extended_tables": [{"key": KEY, "structure": structure}],
    }
    assert environment.web_ui.app
    _extend(environment.web_ui.app, watch)


def _extend(app: Flask, watch: Watch) -> None:
    @app.after_request
    def add_rows(response: Response) -> Response:
        if request.path.endswith("/stats/requests") and response.is_json:
            body = json.loads(response.get_data())
            response.set_data(json.dumps(body | {"extended_stats": [{"key": KEY, "data": rows(watch)}]}))
        return response
