"""The users that every scenario's users are made from: fast, and strict about answers. No scenario of its own."""

import random
from typing import Any, ClassVar

import gevent
from gevent.pool import Pool
from locust import FastHttpUser, task

from loadtests import options, tab, thresholds
from loadtests.measured import PING, here

__all__ = ["Arrivals", "Ping", "Visitor", "options", "tab", "thresholds"]  # the last three listen to Locust's events

MOST_AT_ONCE = 1000


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
        with (
            here.under_way(request.get("name", path)),
            self.client.request(method, path, catch_response=True, allow_redirects=False, **request) as response,
        ):
            status, headers = response.status_code, response.headers or {}
            if status in expect and (not location or headers.get("Location") == location):
                response.success()
            elif status in expect:
                response.failure(f"leads to {headers.get('Location')}, not {location}")
            elif status:
                response.failure(f"{status}, not {' or '.join(map(str, expect))}")
        return response  # no status: Locust counts what the connection ended with

    def milliseconds(self) -> int:
        return options.option(self.environment, "ms") or self.ms


class Arrivals(Visitor):
    """One user that stands for many: it sends each request at its time, whether or not the last one was answered."""

    abstract = True
    fixed_count = 1
    concurrency = MOST_AT_ONCE
    is_load: ClassVar[bool] = True

    @task
    def arrive_for_ever(self) -> None:
        under_way = Pool(MOST_AT_ONCE)
        try:
            while True:
                here.figures.arrived += self.is_load
                under_way.spawn(self.arrive)  # waits for room: a thousand unanswered requests are enough
                gevent.sleep(self.gap_s())
        finally:
            under_way.kill(block=False)

    def gap_s(self) -> float:
        """Return the seconds until the next arrival: strangers know nothing of one another, so this is a Poisson process."""
        return random.expovariate(max(0.1, options.option(self.environment, "arrivals")))

    def arrive(self) -> None:
        """Send one request. Each scenario has its own; Locust's users are no abstract classes to Python."""
        raise NotImplementedError


class Ping(Arrivals):
    """The guest at the next table, who only wants a glass of water: a route that does nothing, ten times a second."""

    is_load = False

    def gap_s(self) -> float:
        return 0.1

    def arrive(self) -> None:
        # On a connection of its own each time, so that it comes to every worker.
        self.ask("/livez", name=PING, headers={"Connection": "close"})
