"""The users that every scenario's users are made from: fast, and strict about answers. No scenario of its own."""

import time
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, ClassVar

import gevent
from gevent.lock import BoundedSemaphore
from gevent.pool import Group
from locust import FastHttpUser, task

from loadtests import options, tab, thresholds
from loadtests.measured import PING, here
from loadtests.schedule import due_times
from loadtests.shape import share

__all__ = ["Arrivals", "Ping", "Visitor", "options", "tab", "thresholds"]  # the last three listen to Locust's events


due_s: ContextVar[float | None] = ContextVar("due_s", default=None)
"""When the request of this greenlet was due, by `time.monotonic`; None for a user who waits for its answers."""


class Visitor(FastHttpUser):
    """The first line of a scenario's docstring is its title on Locust's page, the rest says what to look for."""

    abstract = True
    # Seconds. A frozen service is to be seen as latency, not as a failure.
    connection_timeout = 60.0
    network_timeout = 60.0
    crowd: ClassVar[int] = 50
    """Users, unless another number is asked for."""
    ms: ClassVar[int] = 100
    does: ClassVar[str] = ""
    """A few words for the line on top: the work of the scenario."""

    def ask(
        self, path: str, *, method: str = "GET", expect: tuple[int, ...] = (200,), location: str = "", **request: Any
    ) -> Any:
        """Return the answer; it counts as failed if its status is none of those expected, or if it leads elsewhere."""
        due_at_s = due_s.get()
        due_s.set(None)  # what an arrival asks for afterwards waits for this
        late_ms = 0.0 if due_at_s is None else (time.monotonic() - due_at_s) * 1000
        here.figures.late_ms = max(here.figures.late_ms, late_ms)
        with (
            here.under_way(request.get("name", path)),
            self.client.request(method, path, catch_response=True, allow_redirects=False, **request) as response,
        ):
            response.request_meta["response_time"] += late_ms
            status, headers = response.status_code, response.headers or {}
            if status in expect and (not location or headers.get("Location") == location):
                response.success()
            elif status in expect:
                response.failure(f"leads to {headers.get('Location')}, not {location}")
            elif status:
                response.failure(f"{status}, not {' or '.join(map(str, expect))}")
        return response  # no status: Locust counts what the connection ended with

    def on_stop(self) -> None:
        """Close the connections now: the service's workers take new ones in turn by how many each has open."""
        self.client.client.close()

    def note(self, kind: str, name: str, began_s: float, error: Exception | None = None) -> None:
        """Count in Locust's statistics, as a request that took from `began_s` until now, by `time.monotonic`."""
        self.environment.events.request.fire(
            request_type=kind,
            name=name,
            response_time=(time.monotonic() - began_s) * 1000,
            response_length=0,
            exception=error,
            context={},
        )

    def key_headers(self) -> dict[str, str]:
        """Return the headers of a request that needs `--api-key`, if there is one."""
        key = options.option(self.environment, "api_key")
        return {"Authorization": f"Bearer {key}"} if key else {}

    def milliseconds(self) -> int:
        return options.option(self.environment, "ms") or self.ms


class Arrivals(Visitor):
    """One user that stands for many: it sends each request when it is due, whether or not the last one was answered.

    Latency counts from the moment at which the request was due. So it has the time for which Locust was late to send it.
    """

    abstract = True
    fixed_count = 1
    most_at_once: ClassVar[int] = 1000
    """Requests under way. Further ones wait for their turn, and that counts."""
    concurrency = 1000  # connections

    @task
    def arrive_until_stopped(self) -> None:
        under_way, turn = Group(), BoundedSemaphore(self.most_at_once)
        began_s = time.monotonic()
        try:
            for after_s in self.due_times():
                gevent.sleep(max(0.0, began_s + after_s - time.monotonic()))
                here.figures.arrived += 1
                under_way.spawn(self._arrive, began_s + after_s, turn)
            under_way.join()
        finally:
            under_way.kill(block=False)

    def due_times(self) -> Iterator[float]:
        """Yield the seconds from the start at which a request is due."""
        asked: Any = self.environment.parsed_options

        def rate(now_s: float) -> float:
            return float(asked.arrivals) * (share(asked.load, now_s, asked.run_time) or 0)

        return due_times(rate, asked.arrival_times)

    def _arrive(self, due_at_s: float, turn: BoundedSemaphore) -> None:
        with turn:
            due_s.set(due_at_s)
            self.arrive()

    def arrive(self) -> None:
        """Send one request. Each scenario has its own; Locust's users are no abstract classes to Python."""
        raise NotImplementedError


class Ping(Visitor):
    """The guest at the next table, who only wants a glass of water: a route that does nothing, ten times a second."""

    fixed_count = 1
    concurrency = 1000

    @task
    def ping_until_stopped(self) -> None:
        under_way = Group()
        try:
            while True:
                under_way.spawn(self._ping)
                gevent.sleep(0.1)
        finally:
            under_way.kill(block=False)

    def _ping(self) -> None:
        # On a connection of its own each time, so that it comes to every worker.
        self.ask("/livez", name=PING, headers={"Connection": "close"})
