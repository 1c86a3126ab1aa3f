"""The counts of a worker. Its state, such as the size of the pool, is read by `brigade.ops.publisher`.

Answers are counted in memory shared with every scrape, so that a killed worker's are not lost; all else in plain
attributes, which cost next to nothing, and told to Prometheus once a second. docs/decisions/0012 has the figures.
"""

import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.types import ASGIApp, Scope

from brigade.telemetry import logs

UNMATCHED = "unmatched"
"""Label of a path that is no route. Clients choose paths, and each would be a series of its own."""

REQUEST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
"""A hot answer takes 1 ms, CPU work 20, a statement gives up after 10 s and a request after 15."""
CALL_BUCKETS_S = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""A backend in the same zone answers in 1 ms, and nobody waits for one longer than 1 s."""

registry = CollectorRegistry()
"""The metrics that a runner of jobs serves. Those of workers are read from their files, whatever is registered here."""
counter = partial(Counter, registry=registry)
histogram = partial(Histogram, registry=registry)
gauge = partial(Gauge, registry=registry, multiprocess_mode="liveall")
"""A series for each worker, by its `pid`, for as long as it lives."""

told_each_second: list[Callable[[], None]] = []
"""Functions that the publisher's thread calls, one after the other. A feature adds its own."""


class Count:
    """Add to `total`, in the event loop."""

    def __init__(self, child: Counter) -> None:
        self.total = 0.0
        told_each_second.append(lambda: tell(child, self.total))


class Tally:
    """A histogram to add to in 0.2 µs, where prometheus-client's own, with its locks and its files, takes 4."""

    def __init__(self, child: Histogram) -> None:
        self._bounds: Sequence[float] = child._upper_bounds
        self.counts = [0] * len(self._bounds)
        self.sum = 0.0
        told_each_second.append(lambda: tell_histogram(child, self.counts, self.sum))

    def add(self, value: float) -> None:
        self.counts[bisect_left(self._bounds, value)] += 1
        self.sum += value


def tell(child: Counter, total: float) -> None:
    """The total is this worker's own, as is the file behind the counter."""
    child._value.set(total)


def tell_histogram(child: Histogram, counts: Sequence[int], total: float) -> None:
    for bucket, count in zip(child._buckets, counts, strict=True):
        bucket.set(count)
    child._sum.set(total)


REQUESTS = counter("http_requests", "Answers.", ["route", "method", "status"])
DURATION = histogram(
    "http_request_duration_seconds", "From a request's head to the end of its answer.", ["route", "method"],
    buckets=REQUEST_BUCKETS_S,
)  # fmt: skip
held = Tally(
    histogram(
        "stream_duration_seconds", "How long WebSockets and event streams were open.", buckets=(1, 10, 60, 600, 3600)
    )
)
abandoned = Count(counter("http_requests_abandoned", "Clients that went away before their answer."))

_log_lines_dropped = counter("log_lines_dropped", "Log lines that nobody took.")
told_each_second.append(lambda: tell(_log_lines_dropped, logs.lines_dropped()))

redis_calls = Tally(histogram("redis_call_seconds", "Round trips to Redis.", buckets=CALL_BUCKETS_S))
redis_failures = Count(counter("redis_failures", "Calls that Redis did not answer."))


class PoolStats:
    def __init__(self, name: str) -> None:
        self.waiting = 0
        self.held_s = 0.005
        """How long a connection is kept, on average of lately."""
        self.up = True
        """How the last attempt to have a connection ended; a pool with none to spare says nothing about the server."""
        says = "Waiting for a connection of the pool."
        self.acquired = Tally(histogram(f"{name}_acquire_seconds", says, buckets=CALL_BUCKETS_S))
        failures = counter(f"{name}_acquire_failures", "Connections not had, by why.", ["reason"])
        self.exhausted, self.unreachable = (Count(failures.labels(why)) for why in ("exhausted", "unreachable"))

    def failed(self, *, exhausted: bool) -> None:
        if exhausted:
            self.exhausted.total += 1
        else:
            self.unreachable.total += 1
            self.up = False


postgres = PoolStats("postgres")
replica = PoolStats("postgres_replica")


class RouteStats:
    """Counts of one route and method."""

    def __init__(self, route: str, method: str) -> None:
        self.durations = Tally(DURATION.labels(route, method))
        self._labels = route, method
        self._counting: dict[int, Callable[[], None]] = {}

    def counting(self, status: int) -> Callable[[], None]:
        """Return a function that counts one answer."""
        return self._counting.get(status) or self._counting.setdefault(status, self._bind(status))

    def _bind(self, status: int) -> Callable[[], None]:
        cells, place = _cell_of(REQUESTS.labels(*self._labels, str(status)))

        def count() -> None:
            cells[place] += 1.0

        return count


def _cell_of(child: Counter) -> tuple[Any, int]:
    """The double behind a counter, in memory that outlives the process: 0.2 µs to add to, and `inc` takes 1.5."""
    value: Any = child._value
    if not value._multiprocess:  # nobody scrapes this process
        return [0.0], 0
    return memoryview(value._file._m).cast("d"), value._file._positions[value._key] // 8


class WorkerStats:
    def __init__(self) -> None:
        self.started_at = time.time()
        self.requests_total = 0
        self.in_flight = 0
        self.trace: Callable[[ASGIApp], ASGIApp] | None = None
        """Put around each request that has a task, while somebody watches."""
        self.draws: Callable[[], bool] | None = None
        """Whether a request is to have a task so that somebody who watches sees its steps. It counts those that are not."""
        self._routes: dict[tuple[str, str], RouteStats] = {}

    def of_route(self, scope: Scope) -> RouteStats:
        key = getattr(scope.get("route"), "path", UNMATCHED), scope["method"]
        return self._routes.get(key) or self._routes.setdefault(key, RouteStats(*key))
