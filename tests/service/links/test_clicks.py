import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest
from redis.asyncio import Redis

from brigade.resources import Resources
from local.servers import Postgres, Valkey
from service.features.links import redis_clicks, store
from service.features.links.clicks import Clicks

pytestmark = pytest.mark.anyio


@pytest.fixture
async def link_id(pg: asyncpg.Pool) -> int:
    number: int = await pg.fetchval("INSERT INTO links (code, url) VALUES ('link', 'http://example.com/') RETURNING id")
    return number


async def counted(url: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval("SELECT clicks FROM links WHERE code = 'link'"))
    finally:
        await connection.close()


async def reach(url: str, clicks: int, within_s: float = 15) -> None:
    """Wait for so many clicks in Postgres, and a little longer for any that should not come."""
    async with asyncio.timeout(within_s):
        while await counted(url) < clicks:  # noqa: ASYNC110 - Postgres tells nobody
            await asyncio.sleep(0.05)
    await asyncio.sleep(1.2)
    assert await counted(url) == clicks


def folders(clicks: Clicks) -> list[Path]:
    return [path for path in clicks.folder.iterdir() if not path.name.startswith(".")]


@asynccontextmanager
async def killed(clicks: Clicks) -> AsyncIterator[None]:
    """Nothing is flushed; the lock goes with the process."""
    for task in clicks._tasks:
        task.cancel()
    await asyncio.wait(clicks._tasks)
    yield
    await asyncio.to_thread(clicks.journal.close)


async def test_a_click_reaches_postgres(resources: Resources, database_url: str, link_id: int) -> None:
    async with Clicks(resources) as clicks:
        for _ in range(1000):
            clicks.count(link_id)
        assert clicks.pending == 1000
        await reach(database_url, 1000, within_s=5)
        assert (clicks.pending, clicks.pending_s) == (0, 0.0)
    assert folders(clicks) == []


async def test_only_a_get_is_a_click(client: httpx.AsyncClient, database_url: str, link_id: int) -> None:
    assert link_id
    for _ in range(3):
        await client.get("/r/link")
        await client.head("/r/link")
    await reach(database_url, 3)


async def test_a_worker_that_stops_flushes_everything(resources: Resources, database_url: str, link_id: int) -> None:
    async with Clicks(resources) as clicks:
        clicks.count(link_id)
    assert await counted(database_url) == 1


async def test_a_worker_takes_over_from_one_that_died(resources: Resources, database_url: str, link_id: int) -> None:
    dead = await Clicks(resources).__aenter__()
    async with killed(dead):
        dead.count(link_id)
        dead.journal.spare = await asyncio.to_thread(dead.journal.renew, None)
        dead.journal.seal()
        dead.count(link_id)
        async with Clicks(resources) as alive:
            await asyncio.sleep(1.5)
            assert await counted(database_url) == 0  # it is not dead yet
    async with alive:
        await reach(database_url, 2)
        async with asyncio.timeout(10):
            while folders(alive) != [alive.journal.folder]:  # noqa: ASYNC110 - a folder tells nobody
                await asyncio.sleep(0.05)


async def test_heirs_without_redis_try_again(
    resources: Resources, valkey: Valkey, database_url: str, link_id: int
) -> None:
    valkey.kill()
    for _ in range(3):
        dead = await Clicks(resources).__aenter__()
        async with killed(dead):
            dead.count(link_id)
    async with Clicks(resources):
        await asyncio.sleep(1.5)
        valkey.start()
        await reach(database_url, 3)


async def test_a_batch_that_redis_had_when_its_worker_died_is_not_added_again(
    resources: Resources, database_url: str, link_id: int
) -> None:
    dead = await Clicks(resources).__aenter__()
    async with killed(dead):
        dead.count(link_id)
        dead.journal.spare = await asyncio.to_thread(dead.journal.renew, None)
        dead.journal.seal()
        [(sequence, batch)] = dead.journal.sealed[0].parts()
        await redis_clicks.add_clicks(resources.cache, journal=dead.journal.id, sequence=sequence, clicks=batch)
        dead.count(link_id)
    async with Clicks(resources):
        await reach(database_url, 2)


async def test_two_movers_at_once_move_each_click_once(
    resources: Resources, redis: Redis, database_url: str, link_id: int
) -> None:
    await redis_clicks.add_clicks(resources.cache, journal="a", sequence=1, clicks={link_id: 5})
    movers = [Clicks(resources) for _ in range(4)]
    for _ in range(5):
        await redis.delete(redis_clicks.click_keys(resources.cache).lease)
        await asyncio.gather(*(mover._move() for mover in movers))
        await redis_clicks.add_clicks(resources.cache, journal="b", sequence=1, clicks={link_id: 5})
    await movers[0]._move()
    assert await counted(database_url) == 10


async def test_a_mover_that_died_between_its_steps_is_repeated(
    resources: Resources, redis: Redis, database_url: str, link_id: int
) -> None:
    await redis_clicks.add_clicks(resources.cache, journal="a", sequence=1, clicks={link_id: 5})
    taken = await redis_clicks.take_clicks(resources.cache)
    assert taken.clicks
    await store.add_clicks(resources.pg, batch=taken.batch, clicks=taken.clicks)
    await redis.delete(redis_clicks.click_keys(resources.cache).lease)
    async with Clicks(resources):
        await reach(database_url, 5)
    assert not await redis.exists(*redis_clicks.click_keys(resources.cache)[:2])


async def test_clicks_wait_while_redis_is_away(
    resources: Resources, valkey: Valkey, database_url: str, link_id: int
) -> None:
    async with Clicks(resources) as clicks:
        clicks.count(link_id)
        await asyncio.sleep(0.3)
        valkey.kill()
        for _ in range(50):
            clicks.count(link_id)
            await asyncio.sleep(0.01)
        assert clicks.pending == 50
        assert clicks.pending_s > 0.3
        assert len(clicks.journal.sealed) <= 1
        valkey.start()
        await reach(database_url, 51)


async def test_clicks_survive_a_worker_that_stops_while_redis_is_away(
    resources: Resources, valkey: Valkey, database_url: str, link_id: int
) -> None:
    async with Clicks(resources) as clicks:
        valkey.kill()
        clicks.count(link_id)
    assert len(folders(clicks)) == 1
    valkey.start()
    async with Clicks(resources):
        await reach(database_url, 1)


async def test_clicks_wait_while_postgres_is_away(
    resources: Resources, pg: asyncpg.Pool, postgres: Postgres, database_url: str, link_id: int
) -> None:
    await pg.close()
    async with Clicks(resources) as clicks:
        for turn in range(4):
            clicks.count(link_id)
            await asyncio.sleep(0.4)
            if turn % 2:
                postgres.start()
            else:
                postgres.kill()
        await reach(database_url, 4)
