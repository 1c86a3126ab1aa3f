"""Misses are read from a streaming replica; what it does not know yet, or still knows, must not show."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import asyncpg
import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from local.servers import Postgres, Standby, Valkey
from service.features.links import metrics, resolve
from tests.running import stopped
from tests.service.links.conftest import OpenClient

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def standby(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standby]:
    if not postgres.running:  # the test before may have left it so
        postgres.start()
    with Standby(tmp_path_factory.mktemp("standby"), postgres, settings={"fsync": "off"}) as server:
        yield server


@pytest.fixture
def read_url(standby: Standby, database_url: str) -> str:
    if not standby.running:
        standby.start()
    return database_url.replace(f":{standby.primary.port}/", f":{standby.port}/")


@pytest.fixture
async def replay(pg: "asyncpg.Pool[asyncpg.Record]", read_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A session on the standby, which has the test's database by now; it goes on replaying after the test."""
    await catch_up(pg, read_url)
    connection = await asyncpg.connect(read_url)
    yield connection
    if not connection.is_closed():
        await connection.execute("SELECT pg_wal_replay_resume()")
        await connection.close()


async def catch_up(pg: "asyncpg.Pool[asyncpg.Record]", read_url: str) -> None:
    """Until the standby has all that the primary has, a commit of just now included."""
    await pg.execute("INSERT INTO click_batches (id) VALUES (gen_random_uuid())")
    written = await pg.fetchval("SELECT pg_current_wal_lsn()::text")
    async with asyncio.timeout(20):
        while True:
            try:
                connection = await asyncpg.connect(read_url)
            except asyncpg.PostgresError:  # the database itself is on its way
                await asyncio.sleep(0.05)
                continue
            try:
                if await connection.fetchval("SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn", written):
                    return
            finally:
                await connection.close()
            await asyncio.sleep(0.02)


@pytest.fixture
async def client(open_client: OpenClient, read_url: str, replay: object) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(database_read_url=SecretStr(read_url)) as client:
        yield client


Create = Callable[[str], Awaitable[None]]


@pytest.fixture
def create(client: httpx.AsyncClient, redis: Redis) -> Create:
    """A link that Redis does not know."""

    async def create(code: str) -> None:
        assert (await client.post("/links", json={"url": "https://example.com/a", "code": code})).status_code == 201
        await redis.flushall()

    return create


async def follow(client: httpx.AsyncClient, code: str) -> int:
    return (await client.get(f"/r/{code}")).status_code


async def test_miss_is_answered_by_the_replica_while_the_primary_stands_still(
    client: httpx.AsyncClient, create: Create, pg: "asyncpg.Pool[asyncpg.Record]", read_url: str
) -> None:
    await create("code")
    await catch_up(pg, read_url)
    backends = await pg.fetch("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")
    for row in backends:
        os.kill(row["pid"], signal.SIGSTOP)
    try:
        assert await follow(client, "code") == 307
    finally:
        for row in backends:
            os.kill(row["pid"], signal.SIGCONT)


async def test_link_is_followed_that_the_replica_has_not_heard_of(
    client: httpx.AsyncClient, create: Create, replay: asyncpg.Connection
) -> None:
    await replay.execute("SELECT pg_wal_replay_pause()")
    await create("code")
    assert await replay.fetchval("SELECT count(*) FROM links") == 0
    assert await follow(client, "code") == 307


async def test_deleted_link_stays_away_however_long_the_replica_keeps_it(
    client: httpx.AsyncClient,
    create: Create,
    pg: "asyncpg.Pool[asyncpg.Record]",
    read_url: str,
    replay: asyncpg.Connection,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await create("code")
    await catch_up(pg, read_url)
    await replay.execute("SELECT pg_wal_replay_pause()")
    assert (await client.delete("/links/code")).status_code == 204
    assert await replay.fetchval("SELECT count(*) FROM links") == 1
    assert await follow(client, "code") == 404  # the tombstone sends to the primary
    monkeypatch.setattr(resolve, "MAX_LAG_S", 0.5)
    await asyncio.sleep(0.6)
    await redis.flushall()  # as if its minute had passed, with the replica as far behind as that
    assert await follow(client, "code") == 404


async def test_deleted_link_stays_away_while_redis_is_away(
    client: httpx.AsyncClient,
    create: Create,
    pg: "asyncpg.Pool[asyncpg.Record]",
    read_url: str,
    replay: asyncpg.Connection,
    valkey: Valkey,
) -> None:
    await create("code")
    await catch_up(pg, read_url)
    await replay.execute("SELECT pg_wal_replay_pause()")
    assert (await client.delete("/links/code")).status_code == 204
    valkey.stop()
    assert await follow(client, "code") == 404


async def test_primary_answers_in_time_for_a_replica_that_hangs(
    client: httpx.AsyncClient, create: Create, standby: Standby
) -> None:
    await create("code")
    with stopped(standby.pid):
        assert await follow(client, "code") == 307


async def test_primary_answers_for_a_replica_that_is_away_and_it_is_asked_again_when_it_is_back(
    client: httpx.AsyncClient, create: Create, pg: "asyncpg.Pool[asyncpg.Record]", read_url: str, standby: Standby
) -> None:
    codes = [f"code-{number}" for number in range(40)]
    for code in codes:
        await create(code)
    standby.kill()
    assert {await follow(client, code) for code in codes[:10]} == {307}
    standby.start()
    await catch_up(pg, read_url)
    hits = metrics.replica_hits.total
    async with asyncio.timeout(20):
        for code in codes[10:]:
            assert await follow(client, code) == 307
            if metrics.replica_hits.total > hits:
                return
            await asyncio.sleep(0.2)
    raise AssertionError("the replica was not asked again")
