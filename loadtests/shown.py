"""The parts of the tab beside the line on top: notes, the table of workers, and what to look for."""

from collections import Counter
from typing import Any

from loadtests import window
from loadtests.lesson import told
from loadtests.watch import Watch
from loadtests.words import duration, state_words
from loadtests.workers import Worker

LATE_MS = 100
"""Milliseconds after which it matters that Locust sends late."""


def notes(watch: Watch) -> list[str]:
    found = []
    if watch.generator_percent > window.SATURATED_PERCENT:
        found.append(
            f"Locust is the bottleneck ({watch.generator_percent:.0f} % of a core): these figures are its own. "
            "Use --processes, or LOCUST_WORKERS with Compose."
        )
    if watch.running and watch.recent.late_ms > LATE_MS:
        found.append(
            f"Requests were sent up to {duration(watch.recent.late_ms)} after they were due, which their times include: a "
            "thousand earlier ones have no answer yet, or this machine is too slow to send so many."
        )
    found += [failure for failure in (watch.workers.failure, watch.runs.failure) if failure]
    if watch.running and not watch.served and watch.environment.stats.total.num_requests > 50:
        found.append("The answers do not name their worker: set EXPOSE_WORKER on the service.")
    return found


def table(watch: Watch) -> list[dict[str, Any]]:
    total = watch.served.total()
    return [_row(worker, watch.served, total) for worker in watch.living]


def about(watch: Watch) -> dict[str, str]:
    title, look_for = told(watch.stage.scenario) if watch.stage else ("", "")
    return {"title": title, "look_for": look_for}


def _row(worker: Worker, served: Counter[str], total: int) -> dict[str, Any]:
    told, lane = worker.told, worker.told["cpu_lane"]
    answers = served[told["id"]]
    return {
        "worker": f"{worker.number}",
        "id": told["id"],
        "state": worker.state,
        "words": state_words(worker),
        "answers": answers,
        "share": f"{answers / total:.0%}" if total else "",
        "in_flight": worker.in_flight,
        "streams": told.get("streams", 0),
        "loop_lag_ms": round(told["loop_lag_ms"]["last_second"], 1),
        "cpu_percent": told["cpu_percent"],
        "cpu_lane": f"{lane['running']} of {lane['threads']} run, {lane['waiting']} wait",
        "memory_mb": told["rss_mb"],
    }
