"""How much each caller may ask of all workers of all replicas together: `RATE_LIMIT`, kept in Redis. What is asked
for in one turn of the loop goes there in one short script, each request as a step of its own.

For each caller GCRA keeps the time at which its full allowance is restored. Each request moves it on by a step, and none
may move it further than a period ahead. docs/decisions/0017 says why so, and why not from a library.
"""

import ipaddress
import itertools
import time

from brigade.errors import TooManyRequests, Unavailable
from brigade.settings.callers import Rate
from brigade.stores.cache import Cache
from brigade.stores.coalesce import Coalescer
from brigade.telemetry.metrics import Count, counter
from brigade.telemetry.tracing import note

# A refused request moves nothing, so that a client that keeps asking is let in again at the same moment.
TAKE = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local answers = {}
for place, key in ipairs(KEYS) do
    local kept = redis.pcall('GET', key)
    local ahead = math.max(0, (type(kept) == 'string' and tonumber(kept) or 0) - now) + ARGV[1]
    if ahead <= tonumber(ARGV[2]) then
        redis.call('SET', key, string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000))
    end
    answers[place] = ahead
end
return answers
"""
REMEMBERED = 10_000
"""Callers that a worker knows by itself, about 1 MB of them."""

unshared = Count(counter("rate_limit_unshared", "Requests that a worker counted for itself, as Redis did not answer."))


class Allowance:
    def __init__(self, cache: Cache, rate: Rate) -> None:
        self.cache = cache
        self.rate = rate
        self._prefix = f"{cache.key_prefix}rate:"
        self._step_s = rate.period_s / rate.requests
        self._requests = itertools.count()
        self._takes = Coalescer(self._take_all)
        self._full_at: dict[str, float] = {}
        """Time at which each caller's full allowance is restored, never later than in Redis. It is all there is without Redis."""

    async def take(self, caller: str) -> None:
        """
        Raises:
            TooManyRequests: `caller` has used up what it may ask for now.
        """
        ahead_s = self._ahead_s(caller)
        if ahead_s <= self.rate.period_s:
            ahead_s = await self._take_shared(caller)
        wait_s = ahead_s - self.rate.period_s
        if wait_s > 0:
            raise TooManyRequests(
                f"{self.rate.requests} requests may be made in {self.rate.period_s} s.", retry_after_s=wait_s
            )

    async def _take_shared(self, caller: str) -> float:
        asked_at, began_s = time.monotonic(), time.perf_counter()
        try:
            ahead_us = await self._takes.get((caller, next(self._requests)))
        except Unavailable:
            ahead_us = None
        finally:
            note("redis", began_s)
        if ahead_us is None:
            unshared.total += 1
            asked_at, ahead_s = time.monotonic(), self._ahead_s(caller)
        else:
            ahead_s = ahead_us / 1e6
        taken = ahead_s <= self.rate.period_s
        self._remember(caller, asked_at + ahead_s - (0 if taken else self._step_s))
        return ahead_s

    async def _take_all(self, requests: list[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Take a step for each request, in order. A caller may have several among them."""
        step_us, period_us = round(self._step_s * 1e6), self.rate.period_s * 1_000_000
        keys = [self._prefix + caller for caller, _ in requests]
        groups = self.cache.together(keys)
        answers = await self.cache.run_all(
            [("EVAL", TAKE, len(places), *(keys[place] for place in places), step_us, period_us) for places in groups]
        )
        return {
            requests[place]: int(ahead_us)
            for places, group in zip(groups, answers, strict=True)
            for place, ahead_us in zip(places, group, strict=True)
        }

    def _ahead_s(self, caller: str) -> float:
        """Return how far ahead of now one more request would move the caller's time."""
        return max(0.0, self._full_at.get(caller, 0.0) - time.monotonic()) + self._step_s

    def _remember(self, caller: str, full_at: float) -> None:
        if len(self._full_at) >= REMEMBERED:
            now = time.monotonic()
            self._full_at = {known: at for known, at in self._full_at.items() if at > now}
            if len(self._full_at) >= REMEMBERED:
                self._full_at.clear()
        self._full_at[caller] = full_at


def name_address(host: str) -> str:
    """Return the caller that an address stands for. A client with one IPv6 address has all 2**64 of its network."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return f"address:{host[:64]}"
    if isinstance(address, ipaddress.IPv4Address):
        return f"address:{address}"
    mapped = address.ipv4_mapped
    return f"address:{mapped}" if mapped else f"address:{ipaddress.IPv6Address(int(address) >> 64 << 64)}"
