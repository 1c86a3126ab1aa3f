"""Keeps clicks in Redis, on their way from the workers to Postgres.

The keys share a hash tag, so that a cluster keeps them where one script can reach them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple
from uuid import uuid4

import structlog
from redis.exceptions import ResponseError

from brigade.stores import AnyRedis, Ask, Cache, one_connection

log = structlog.get_logger("service.links.clicks")

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


class ClickKeys(NamedTuple):
    clicks: str
    moving: str
    lease: str


def click_keys(cache: Cache) -> ClickKeys:
    parts = ("clicks",), ("clicks", "moving"), ("clicks", "lease")
    return ClickKeys(*(cache.keys.tagged("links", *part) for part in parts))


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


async def _take_clicks(redis: AnyRedis, *, keys: ClickKeys) -> Taken:
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
