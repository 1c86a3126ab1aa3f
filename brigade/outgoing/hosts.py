"""The state that a worker keeps for each host that it calls: its connections, a breaker, a budget for retries and metrics."""

import asyncio
import time
from typing import Literal, get_args

from brigade.stores.breaker import Breaker
from brigade.telemetry.metrics import REQUEST_BUCKETS_S, Count, Tally, counter, histogram

MOST_HOSTS = 100
"""Hosts that a worker remembers, and that have a series of their own; the others share `OTHERS`."""
OTHERS = "other"
FAILURES_IN_A_ROW = 5
RETRIES_KEPT = 10.0
RETRY_SHARE = 0.1
"""A host may be asked again for 10 of its calls, and then for a tenth of them, so that retries never double its load."""

Outcome = Literal["answered", "failed", "timed_out", "refused"]

CALLS = counter("outgoing_calls", "Calls to other services, by how they ended.", ["host", "outcome"])
SECONDS = histogram(
    "outgoing_call_seconds", "Calls to other services, retries included.", ["host"], buckets=REQUEST_BUCKETS_S
)
RETRIES = counter("outgoing_retries", "Calls that were sent again.", ["host"])


class HostStats:
    def __init__(self, label: str) -> None:
        self.label = label
        self.seconds = Tally(SECONDS.labels(label))
        self.retries = Count(RETRIES.labels(label))
        self.calls = {outcome: Count(CALLS.labels(label, outcome)) for outcome in get_args(Outcome)}

    def ended(self, outcome: Outcome, began_s: float) -> None:
        self.calls[outcome].total += 1
        self.seconds.add(time.perf_counter() - began_s)


class Host:
    def __init__(self, name: str, stats: HostStats, connections: int) -> None:
        self.name = name
        self.stats = stats
        self.free = asyncio.Semaphore(connections)
        """Connections that no call holds. aiohttp has the same bound, and would not say which of its calls wait for one."""
        self.breaker = Breaker(backend=name, threshold=FAILURES_IN_A_ROW)
        self._retries_left = RETRIES_KEPT

    def called(self) -> None:
        self._retries_left = min(RETRIES_KEPT, self._retries_left + RETRY_SHARE)

    def may_retry(self) -> bool:
        """Whether the budget has a retry left. Each True takes one from it."""
        if self._retries_left < 1 or self.breaker.is_open:
            return False
        self._retries_left -= 1
        self.stats.retries.total += 1
        return True


class Hosts:
    """The hosts called lately. The oldest is forgotten where there are too many, because an address may come from a client."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._hosts: dict[str, Host] = {}
        self._stats: dict[str, HostStats] = {}

    def of(self, name: str) -> Host:
        if (host := self._hosts.get(name)) is not None:
            return host
        if len(self._hosts) >= MOST_HOSTS:
            del self._hosts[next(iter(self._hosts))]
        host = self._hosts[name] = Host(name, self._stats_of(name), self._connections)
        return host

    def _stats_of(self, name: str) -> HostStats:
        label = name if name in self._stats or len(self._stats) < MOST_HOSTS else OTHERS
        return self._stats.get(label) or self._stats.setdefault(label, HostStats(label))
