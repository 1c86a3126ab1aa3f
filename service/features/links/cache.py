"""The links in Redis: where they lead, and clicks on their way to Postgres. No other module names a key.

Clicks share a hash tag, so that a cluster keeps them where one script can reach them. Targets have none, and spread over it.
"""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple
from uuid import uuid4

import structlog
from redis.exceptions import ResponseError

from brigade.stores import AnyRedis, Ask, Cache, one_connection
from service.features.links.store import Link
from service.features.links.urls import to_location

log = structlog.get_logger("service.links.clicks")

TARGET_TTL_S = 300
"""Bounds how long a Redis that lost a tombstone in a crash, or in a fail-over, can serve a deleted link."""
UNKNOWN_TTL_S = 10
MAX_LAG_S = 30.0
"""A replica that is further behind is not asked: it may still have links whose tombstone has gone."""
FILL_MARGIN_S = 30.0
"""Seconds for the deadlines of a lookup, and for Gunicorn to notice a worker that is blocked."""
JOURNAL_TTL_S = 7 * 86_400
LEASE_MS = 2000
MOST_MOVED = 10_000
"""Links of one batch on its way to Postgres: far below what the deadlines of Redis and of a statement allow."""
MOST_DIGITS = 18
"""Each number of so many digits is a bigint of Postgres."""
SHOWN = 100
REPLICA_WAIT_MS = 100
ON_DISK_TRIES, ON_DISK_WAIT_MS = 8, 150
"""Redis writes to disk once a second; one wait must end before the client's own timeout of 300 ms."""

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
ADD_CLICKS = """
if tonumber(ARGV[1]) <= tonumber(redis.call('GET', KEYS[1]) or '0') then
    redis.call('EXPIRE', KEYS[1], ARGV[2])
    return
end
for id, clicks in pairs(cjson.decode(ARGV[3])) do redis.call('HINCRBY', KEYS[2], id, clicks) end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
"""
# KEYS: clicks, moving, lease. A batch that is being moved is never changed, so that repeating it changes nothing.
TAKE_CLICKS = """
local waiting, batch = redis.call('HLEN', KEYS[1]), redis.call('HGET', KEYS[2], 'batch')
local backlog = waiting + math.max(0, redis.call('HLEN', KEYS[2]) - 1)
if backlog == 0 or not redis.call('SET', KEYS[3], '', 'NX', 'PX', ARGV[2]) then return {backlog, batch or ''} end
if not batch then
    batch = ARGV[1]
    local most = tonumber(ARGV[3])
    if waiting <= most then
        redis.call('RENAME', KEYS[1], KEYS[2])
    else
        local cursor, links, taken = '0', 0, {}
        repeat
            local found = redis.call('HSCAN', KEYS[1], cursor, 'COUNT', most)
            cursor = found[1]
            for place = 1, #found[2], 2 do
                if links < most and not taken[found[2][place]] then
                    taken[found[2][place]], links = found[2][place + 1], links + 1
                end
            end
        until cursor == '0' or links == most
        for link, clicks in pairs(taken) do
            redis.call('HSET', KEYS[2], link, clicks)
            redis.call('HDEL', KEYS[1], link)
        end
    end
    redis.call('HSET', KEYS[2], 'batch', batch)
end
return {backlog, batch, redis.call('HGETALL', KEYS[2])}
"""
FORGET_CLICKS = "if redis.call('HGET', KEYS[1], 'batch') == ARGV[1] then redis.call('DEL', KEYS[1], KEYS[2]) end"


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a code. The id 0 means that there is no such link."""

    id: int
    location: bytes
    expires_at: float | None

    @classmethod
    def of(cls, link: Link) -> "Target":
        return cls(link.id, to_location(link.url), link.expires_at.timestamp() if link.expires_at else None)

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


async def add_clicks(cache: Cache, *, journal: str, sequence: int, clicks: Mapping[int, int]) -> None:
    """A journal's batches must come in order; one that was added before changes nothing."""
    counts = json.dumps(clicks)  # one argument: redis-py takes a microsecond for each
    clicks_key = click_keys(cache).clicks
    journal_key = cache.keys.tagged("links", "journal", journal)

    async def add(redis: AnyRedis) -> None:
        async with one_connection(redis, clicks_key) as ask:
            await ask("EVAL", ADD_CLICKS, 2, journal_key, clicks_key, sequence, JOURNAL_TTL_S, counts)
            if await _has_replicas(ask):  # a fail-over that comes now would lose what has left the journal
                await ask("WAIT", 1, REPLICA_WAIT_MS)

    await cache.run(add)


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to a worker that asks for clicks to move."""

    backlog: int
    """Links whose clicks wait in Redis, those of the batch included."""
    batch: str
    """The id of the batch that is being moved by any worker, or nothing."""
    clicks: dict[int, int]
    """Clicks of that batch, or none if there is no batch or another worker has just taken it."""


async def take_clicks(cache: Cache) -> Taken:
    """The clicks to add to Postgres, of at most `MOST_MOVED` links: the same again until they are forgotten."""
    return await cache.run(partial(_take_clicks, keys=click_keys(cache)))


async def _take_clicks(redis: AnyRedis, *, keys: "ClickKeys") -> Taken:
    async with one_connection(redis, keys.clicks) as ask:
        backlog, batch, *found = await ask("EVAL", TAKE_CLICKS, 3, *keys, uuid4().hex, LEASE_MS, MOST_MOVED)
        if found:
            await _reach_disk(ask)
        fields = dict(zip(found[0][::2], found[0][1::2], strict=True)) if found else {}
        fields.pop(b"batch", None)
        clicks = {int(link): int(count) for link, count in fields.items() if _is_number(link) and _is_number(count)}
        if strange := fields.keys() - {b"%d" % link for link in clicks}:  # no attempt would ever succeed with them
            log.error("clicks that cannot be read are dropped", fields=len(strange), one=repr(min(strange))[:SHOWN])
            if not clicks:
                await ask("EVAL", FORGET_CLICKS, 2, keys.moving, keys.lease, batch)
    return Taken(backlog, batch.decode(), clicks)


def _is_number(value: bytes) -> bool:
    return value.isdigit() and len(value) <= MOST_DIGITS


async def _reach_disk(ask: Ask) -> None:
    """Wait until Redis has written to its disk.

    Otherwise a Redis that crashes now would come back with these clicks in no batch, and they would be counted under
    another id. The same holds for the replica that takes its place.
    """
    copies = int(await _has_replicas(ask))
    for _ in range(ON_DISK_TRIES):
        try:
            on_disk, on_other_disks = await ask("WAITAOF", 1, copies, ON_DISK_WAIT_MS)
        except ResponseError:
            return  # it keeps nothing on disk, or is older than 7.2
        if on_disk and on_other_disks >= copies:
            return


async def _has_replicas(ask: Ask) -> bool:
    try:
        return bool((await ask("ROLE"))[2])
    except ResponseError:
        return False  # it is managed by others, who do not tell


async def forget_clicks(cache: Cache, batch: str) -> None:
    keys = click_keys(cache)
    await cache.run(lambda redis: redis.eval(FORGET_CLICKS, 2, keys.moving, keys.lease, batch))


def _target_prefix(cache: Cache) -> str:
    """It has no hash tag, so that targets spread over a cluster."""
    return f"{cache.key_prefix}links:target:"


class ClickKeys(NamedTuple):
    clicks: str
    moving: str
    lease: str


def click_keys(cache: Cache) -> ClickKeys:
    parts = ("clicks",), ("clicks", "moving"), ("clicks", "lease")
    return ClickKeys(*(cache.keys.tagged("links", *part) for part in parts))


def _encode(target: Target) -> tuple[bytes, int]:
    if target is UNKNOWN:
        return UNKNOWN_MARK, UNKNOWN_TTL_S
    return b"%d|%s|%s" % (target.id, str(target.expires_at or "").encode(), target.location), TARGET_TTL_S


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
