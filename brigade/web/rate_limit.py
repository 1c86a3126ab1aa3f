"""How much each caller may ask of all workers of all replicas together: `RATE_LIMIT`, kept in Redis, one short script a request.

For each caller GCRA keeps the time at which its full allowance is restored. Each request moves it on by a step, and none
may move it further than a period ahead. docs/decisions/0017 says why so, and why not from a library.
"""

import ipaddress
import time

from brigade.errors import CacheUnavailable, TooManyRequests
from brigade.settings.callers import Rate
from brigade.stores.cache import Cache
from brigade.telemetry.metrics import Count, counter

# A refused request moves nothing, so that a client that keeps asking is let in again at the same moment.
TAKE = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local ahead = math.max(0, (tonumber(redis.call('GET', KEYS[1]) or '0') or 0) - now) + ARGV[1]
if ahead <= tonumber(ARGV[2]) then
    redis.call('SET', KEYS[1], string.format('%.0f', now + ahead), 'PX', math.ceil(ahead / 1000))
end
return ahead
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
        asked_at = time.monotonic()
        step_us, period_us = round(self._step_s * 1e6), self.rate.period_s * 1_000_000
        try:
            key = self._prefix + caller
            ahead_us = await self.cache.run(lambda redis: redis.eval(TAKE, 1, key, step_us, period_us))
        except CacheUnavailable:
            unshared.total += 1
            asked_at, ahead_s = time.monotonic(), self._ahead_s(caller)
        else:
            ahead_s = int(ahead_us) / 1e6
        taken = ahead_s <= self.rate.period_s
        self._remember(caller, asked_at + ahead_s - (0 if taken else self._step_s))
        return ahead_s

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
