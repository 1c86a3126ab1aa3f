"""A cluster of three, and a pair with a Sentinel: what a worker keeps in Redis, and a fail-over under load."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import redis as redis_sync
from redis.asyncio import Redis

from brigade.errors import CacheUnavailable
from brigade.stores.breaker import Breaker
from brigade.stores.cache import Cache
from brigade.stores.redis_client import open_redis
from brigade.stores.redis_line import Lines
from local.servers import Valkey
from tests.brigade.cli.conftest import Run
from tests.brigade.stores.servers import ValkeyCluster, Watched
from tests.conftest import StartService
from tests.visitors import Visitors

pytestmark = [pytest.mark.anyio, pytest.mark.drives("links")]

CODES = [f"link-{number}" for number in range(50)]


@pytest.fixture(scope="module")
def one_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyCluster]:
    with ValkeyCluster(tmp_path_factory.mktemp("cluster"), key="{test:links}:clicks") as cluster:
        yield cluster


@pytest.fixture
def cluster(one_cluster: ValkeyCluster) -> ValkeyCluster:
    """Empty. The last test that uses it kills one of its servers."""
    for node in one_cluster.primaries:
        with redis_sync.Redis.from_url(node.url) as client:
            client.flushall()
    return one_cluster


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    with Watched(tmp_path) as watched:
        yield watched


@pytest.fixture
async def codes(pg: "asyncpg.Pool[asyncpg.Record]") -> list[str]:
    insert = "INSERT INTO links (code, url) SELECT code, 'http://example.com/' FROM unnest($1::text[]) AS code"
    await pg.execute(insert, CODES)
    return CODES


@pytest.fixture
async def cache(cluster: ValkeyCluster) -> AsyncIterator[Cache]:
    client = open_redis(cluster.url, connections=8, timeout_s=5, socket_timeout=5)
    cache = Cache(client, Breaker(), Lines(client))  # type: ignore[arg-type]
    yield cache
    await cache.line.close()  # type: ignore[union-attr]
    await client.aclose()


async def test_keys_of_a_cluster_are_read_where_they_are_also_after_they_have_moved(
    cache: Cache, cluster: ValkeyCluster
) -> None:
    keys = [f"key:{number}" for number in range(200)]
    await cache.run_all([("SET", key, key) for key in keys])
    assert await cache.mget([*keys, "none"]) == [*(key.encode() for key in keys), None]
    assert all(await asyncio.gather(*(count(node) for node in cluster.primaries)))
    clients = [redis_sync.Redis.from_url(node.url) for node in cluster.primaries[:2]]
    owner = clients[1].cluster("MYID")
    for client in clients:
        client.cluster("SETSLOT", 0, "NODE", owner)
    assert await cache.mget(["{06S}"]) == [None]  # of slot 0, which the client takes to be where it was
    for client in clients:
        client.close()


async def test_server_that_fails_leaves_nobody_on_the_line_of_another(cache: Cache, cluster: ValkeyCluster) -> None:
    keys = [f"key:{number}" for number in range(50)]
    await cache.run_all([("SET", key, key) for key in keys])
    await cache.mget(keys)
    await cache.redis.hset("hash", "field", "value")
    owner: Any = cache.redis.get_node_from_key("hash")  # type: ignore[union-attr]
    for node in cluster.primaries:
        if node.port != owner.port:
            async with Redis.from_url(node.url) as client:
                await client.client_pause(150)
    async with Redis.from_url(f"redis://:{cluster.password}@{owner.host}:{owner.port}") as client:
        await client.acl_setuser("default", enabled=True, commands=["-get"])
        with pytest.raises(CacheUnavailable):
            await cache.mget([*keys, "hash"])
        await client.acl_setuser("default", enabled=True, commands=["+get"])
    assert await cache.mget([*keys, "hash"]) == [*(key.encode() for key in keys), None]  # MGET has it so, too


async def count(node: Valkey) -> int:
    async with Redis.from_url(node.url) as client:
        return int(await client.dbsize())


async def test_service_and_doctor_work_with_a_cluster(
    start_service: StartService, run: Run, cluster: ValkeyCluster, database_url: str
) -> None:
    service = start_service(workers=2, REDIS_URL=cluster.url, RATE_LIMIT="20/minute")
    async with httpx.AsyncClient(base_url=service.url, timeout=20) as client:
        made = [await client.post("/links", json={"url": "http://example.com/"}) for _ in range(30)]
        assert [answer.status_code for answer in made] == [201] * 20 + [429] * 10
        codes = [answer.json()["code"] for answer in made[:20]]
        followed = await asyncio.gather(*(client.get(f"/r/{code}") for code in codes))
        assert {answer.status_code for answer in followed} == {307}
        assert (await client.get("/readyz")).json()["status"] == "ready"
        workers = (await client.get("/workers")).json()
        assert (workers["complete"], len(workers["workers"])) == (True, 2)
        assert (await client.get("/lab/io/cache", params={"ms": 20})).status_code == 200
    done = await asyncio.to_thread(run, "doctor", DATABASE_URL=database_url, REDIS_URL=cluster.url)
    assert done.stdout.count("appendonly yes") == 3
    assert done.returncode == 0, done.stdout


async def test_fail_over_of_a_cluster_keeps_the_clicks(
    start_service: StartService, cluster: ValkeyCluster, codes: list[str], pg: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    service = start_service(workers=2, REDIS_URL=cluster.url, DEPLOYMENT="test")
    await assert_clicks_are_kept(Visitors(service.port, codes, visits=10**9), cluster.owner, cluster.replica, pg)


async def test_fail_over_by_a_sentinel_keeps_the_clicks(
    start_service: StartService, watched: Watched, codes: list[str], pg: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    service = start_service(workers=2, REDIS_URL=watched.url)
    await assert_clicks_are_kept(Visitors(service.port, codes, visits=10**9), watched.primary, watched.replica, pg)
    watched.sentinel.kill()
    watched.replica.kill()
    assert await asyncio.to_thread(service.stop, within_s=8) == 0  # nobody who could tell holds it up


async def leads(server: Valkey) -> bool:
    async with Redis.from_url(server.url) as client:
        try:
            return bool((await client.role())[0] == b"master")
        except redis_sync.ConnectionError:  # its clients are sent away at the moment it takes over
            return False


async def assert_clicks_are_kept(
    visitors: Visitors, primary: Valkey, replica: Valkey, pg: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    """What the last second before the crash brought may be lost, as with a single server; nothing is doubled."""
    following = asyncio.create_task(visitors.follow(clients=8))
    await asyncio.sleep(2)
    a_second_before = visitors.answered
    await asyncio.sleep(1)
    async with Redis.from_url(primary.url) as client:  # clicks that leave a worker, or Redis, are known to the replica
        assert {"cmdstat_wait", "cmdstat_waitaof"} <= (await client.info("commandstats")).keys()
    primary.kill()
    bound = visitors.answered - a_second_before
    async with asyncio.timeout(30):
        while not await leads(replica):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.1)
    await asyncio.sleep(1)
    visitors.stopped = True
    await following
    deadline = time.monotonic() + 20
    clicks = 0
    while clicks < visitors.answered and time.monotonic() < deadline:
        clicks = await pg.fetchval("SELECT sum(clicks) FROM links")
        await asyncio.sleep(0.2)
    assert visitors.answered - bound <= clicks <= visitors.answered
    await asyncio.sleep(1.5)
    assert await pg.fetchval("SELECT sum(clicks) FROM links") == clicks
