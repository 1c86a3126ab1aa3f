"""Clicks that wait in Redis for Postgres: moved in bounded batches, each once, and seen by a metric."""

import asyncio
from typing import Any

import asyncpg
import pytest
from redis.asyncio import Redis

from brigade.resources import Resources
from local.servers import Postgres
from service.features.links import clicks, redis_clicks, store
from service.features.links.clicks import Clicks

pytestmark = pytest.mark.anyio


async def wait_in_redis(resources: Resources, redis: Redis, links: int) -> None:
    for start in range(1, links + 1, 10_000):
        waiting: dict[Any, Any] = dict.fromkeys(range(start, min(start + 10000, links + 1)), 2)
        await redis.hset(redis_clicks.click_keys(resources.cache).clicks, mapping=waiting)


async def make_links(pg: asyncpg.Pool, links: int) -> None:
    await pg.execute(
        "INSERT INTO links (code, url) SELECT 'l' || n, 'http://example.com/' FROM generate_series(1, $1::int) n", links
    )


async def test_batches_are_bounded_and_add_up(resources: Resources, redis: Redis) -> None:
    await wait_in_redis(resources, redis, 30_123)
    moved: dict[int, int] = {}
    for left in (30_123, 20_123, 10_123, 123):
        taken = await redis_clicks.take_clicks(resources.cache)
        assert (taken.backlog, len(taken.clicks)) == (left, min(left, 10_000))
        assert not moved.keys() & taken.clicks.keys()
        moved |= taken.clicks
        await redis_clicks.add_clicks(resources.cache, journal="a", sequence=left, clicks={})
        await redis.delete(redis_clicks.click_keys(resources.cache).lease)
        assert await redis_clicks.take_clicks(resources.cache) == taken
        await redis_clicks.forget_clicks(resources.cache, taken.batch)
    assert moved == dict.fromkeys(range(1, 30_124), 2)
    assert (await redis_clicks.take_clicks(resources.cache)).backlog == 0


@pytest.mark.parametrize("with_clicks", [True, False])
async def test_what_is_no_click_holds_up_no_clicks(
    resources: Resources, redis: Redis, pg: asyncpg.Pool, with_clicks: bool
) -> None:
    """Another program, or another version, may have written it."""
    await make_links(pg, 1)
    keys = redis_clicks.click_keys(resources.cache)
    await redis.hset(keys.clicks, mapping={b"\xff": b"1", "2": "many", "9" * 30: "1", "3": "-1"})
    async with asyncio.timeout(20), Clicks(resources) as moving:
        if not with_clicks:
            while await redis.exists(keys.clicks, keys.moving):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await redis_clicks.add_clicks(resources.cache, journal="a", sequence=1, clicks={1: 5})
        while await pg.fetchval("SELECT clicks FROM links") != 5 or moving.backlog.links:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_large_backlog_is_moved_though_no_client_waits_longer_than_usual(
    resources: Resources, redis: Redis, pg: asyncpg.Pool
) -> None:
    await make_links(pg, 50_000)
    await wait_in_redis(resources, redis, 50_000)
    async with Clicks(resources) as moving:
        async with asyncio.timeout(60):
            while await pg.fetchval("SELECT sum(clicks) FROM links") < 100_000:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
    assert moving.backlog.links == 0
    assert await pg.fetchval("SELECT sum(clicks) FROM links") == 100_000


async def test_the_backlog_and_how_long_it_stands_are_known_to_every_worker(
    resources: Resources, redis: Redis, pg: asyncpg.Pool, postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_clicks, "LEASE_MS", 100)
    monkeypatch.setattr(store, "MOVE_WITHIN_S", 0.2)
    monkeypatch.setattr(clicks, "STOP_WITHIN_S", 0.1)
    await pg.close()
    postgres.kill()
    await wait_in_redis(resources, redis, 7)
    async with Clicks(resources) as one, Clicks(resources) as other:
        async with asyncio.timeout(20):
            while min(one.backlog.seconds, other.backlog.seconds) < 1.5:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert one.backlog.links == other.backlog.links == 7
        postgres.start()
        async with asyncio.timeout(20):
            while max(one.backlog.links, other.backlog.links):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert max(one.backlog.seconds, other.backlog.seconds) == 0
