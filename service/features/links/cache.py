"""Keeps in Redis where links lead. No key has a hash tag, so that they spread over a cluster."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from brigade.stores import Cache
from service.features.links.store import Link
from service.features.links.urls import to_location

TARGET_TTL_S = 300
"""Bounds how long a Redis that lost a tombstone in a crash, or in a fail-over, can serve a deleted link."""
UNKNOWN_TTL_S = 10
MAX_LAG_S = 30.0
"""A replica that is further behind is not asked: it may still have links whose tombstone has gone."""
FILL_MARGIN_S = 30.0
"""Seconds for the deadlines of a lookup, and for Gunicorn to notice a worker that is blocked."""

DECODED = 2048
"""Values decoded lately: the links that are followed most often are few. At most 8 MB, and 1 where URLs are of usual length."""

UNKNOWN_MARK, TOMBSTONE = b"-", b"x"

# A value found there is newer than ours, but for "unknown": the link may have been created since.
FILL = """
for i, key in ipairs(KEYS) do
    local held = redis.call('GET', key)
    if not held or held == '-' then redis.call('SET', key, ARGV[2 * i - 1], 'EX', ARGV[2 * i]) end
end
"""


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a code. The id 0 means that there is no such link."""

    id: int
    location: bytes
    expires_at: float | None

    @classmethod
    def of(cls, link: Link) -> "Target":
        """Return where a link leads: nowhere, as if it had expired, by a URL of somebody's SQL that no header can hold."""
        try:
            return cls(link.id, to_location(link.url), link.expires_at.timestamp() if link.expires_at else None)
        except ValueError:
            return cls(link.id, b"", 0.0)

    def has_expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= time.time()

    def is_open(self) -> bool:
        """Whether it leads somewhere now, by all that is known."""
        return self.id > 0 and not self.has_expired()


UNKNOWN = Target(0, b"", None)
BURIED = Target(-1, b"", None)
"""Somebody deletes the link, or has just done so: the primary of Postgres knows which."""


MARKS = {UNKNOWN_MARK: UNKNOWN, TOMBSTONE: BURIED}


async def read_targets(cache: Cache, codes: Sequence[str]) -> dict[str, Target]:
    """Return what is known of `codes`. A code that is missing, or `BURIED`, must be looked up in Postgres."""
    prefix = _target_prefix(cache)
    values = await cache.mget([prefix + code for code in codes])
    known = {code: _decode(value) for code, value in zip(codes, values, strict=True) if value is not None}
    return {code: target for code, target in known.items() if target is not None}


async def fill_targets(cache: Cache, targets: Mapping[str, Target]) -> None:
    """Keep what Postgres said, for as long as nobody has said something newer."""
    prefix = _target_prefix(cache)
    keys, values = [prefix + code for code in targets], [_encode(target) for target in targets.values()]
    await cache.run_all([_fill(keys, values, places) for places in cache.together(keys)])


def _fill(keys: Sequence[str], values: Sequence[tuple[bytes, int]], places: Sequence[int]) -> tuple[Any, ...]:
    arguments = [part for place in places for part in values[place]]
    return "EVAL", FILL, len(places), *(keys[place] for place in places), *arguments


async def bury_target(cache: Cache, code: str, *, worker_timeout_s: float) -> None:
    """Before a link is deleted: from now on every worker asks Postgres, and none keeps the answer.

    A reader that saw the link before its deletion would otherwise bring it back into the cache after it. The tombstone
    outlives every such reader: a worker that is blocked for `worker_timeout_s` is killed, and a replica lags a bounded time.
    """
    ttl_s = math.ceil(MAX_LAG_S + worker_timeout_s + FILL_MARGIN_S)
    await cache.run(lambda redis: redis.set(_target_prefix(cache) + code, TOMBSTONE, ex=ttl_s))


def _target_prefix(cache: Cache) -> str:
    """It has no hash tag, so that targets spread over a cluster."""
    return f"{cache.key_prefix}links:target:"


def _encode(target: Target) -> tuple[bytes, int]:
    if target is UNKNOWN:
        return UNKNOWN_MARK, UNKNOWN_TTL_S
    expires_at = b"" if target.expires_at is None else str(target.expires_at).encode()
    return b"%d|%s|%s" % (target.id, expires_at, target.location), TARGET_TTL_S


@lru_cache(DECODED)
def _decode(value: bytes) -> Target | None:
    """None for a value that this version cannot read: it counts as missing, and Postgres is asked."""
    if value in MARKS:
        return MARKS[value]
    try:
        link_id, expires_at, location = value.split(b"|", 2)
        return Target(int(link_id), location, float(expires_at) if expires_at else None)
    except ValueError:
        return None
