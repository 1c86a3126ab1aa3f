"""Counts of the answers of each worker of the service, by the X-Worker of each answer; also where Locust is distributed."""

from collections import Counter
from typing import Any

from locust import events

served: Counter[str] = Counter()
"""Requests by worker of the service, of this run: of all Locust processes in the master, else of this one."""
unreported: Counter[str] = Counter()


@events.request.add_listener
def count(response: Any = None, **_: object) -> None:
    if response is not None and (worker := (response.headers or {}).get("X-Worker")):
        served[worker] += 1
        unreported[worker] += 1


@events.report_to_master.add_listener
def report(data: dict[str, Any], **_: object) -> None:
    data["served"] = dict(unreported)
    unreported.clear()


@events.worker_report.add_listener
def receive(data: dict[str, Any], **_: object) -> None:
    served.update(data.get("served", {}))


@events.reset_stats.add_listener
@events.test_start.add_listener
def forget(**_: object) -> None:
    served.clear()
    unreported.clear()
