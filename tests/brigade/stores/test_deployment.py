"""Two deployments on one Redis: neither sees, changes or counts what is the other's."""

import subprocess
from collections.abc import Iterator

import httpx
import pytest
import redis as redis_sync
from redis.asyncio import Redis

from brigade.stores.deployment import Deployment
from brigade.stores.keys import Keys
from local.process import free_port
from local.servers import Postgres
from tests.brigade.cli.conftest import Run, query
from tests.brigade.ops.test_ops import eventually
from tests.conftest import StartService


@pytest.fixture
def other_database(run: Run, postgres: Postgres, database_url: str) -> Iterator[str]:
    query(postgres.url, "CREATE DATABASE other")
    url = f"{database_url.rpartition('/')[0]}/other"
    assert run("migrate", DATABASE_URL=url).returncode == 0
    yield url
    query(postgres.url, "DROP DATABASE other WITH (FORCE)")


@pytest.mark.drives("links", "lab")
def test_two_deployments_share_a_redis_and_nothing_in_it(
    start_service: StartService, other_database: str, redis_url: str
) -> None:
    first = start_service(workers=1, RATE_LIMIT="20/minute")
    second = start_service(workers=1, RATE_LIMIT="20/minute", DATABASE_URL=other_database)
    for service in (first, second):
        httpx.post(f"{service.url}/links", json={"url": f"http://{service.port}.example/", "code": "same"})
    for service in (first, second):
        for _ in range(5):
            assert httpx.get(f"{service.url}/r/same").headers["location"] == f"http://{service.port}.example/"
    httpx.post(f"{first.url}/links", json={"url": "http://example.com/", "code": "first"})
    assert httpx.get(f"{first.url}/r/first").status_code == 307
    assert httpx.get(f"{second.url}/r/first").status_code == 404
    for service in (first, second):
        eventually(lambda url=service.url: httpx.get(f"{url}/links/same").json().get("clicks") == 5)  # type: ignore[misc]
        assert len(httpx.get(f"{service.url}/workers").json()["workers"]) == 1
    assert [httpx.get(f"{first.url}/links/same").status_code for _ in range(20)][-1] == 429
    assert httpx.get(f"{second.url}/links/same").status_code == 200
    with redis_sync.Redis.from_url(redis_url, decode_responses=True) as client:
        names = {key.strip("{").partition(":")[0] for key in client.scan_iter()}
    assert len(names) == 2


def test_deployment_whose_name_another_database_has_is_refused(
    start_service: StartService, run: Run, other_database: str, redis_url: str
) -> None:
    start_service(workers=1, DEPLOYMENT="shop")
    taken = {"DATABASE_URL": other_database, "REDIS_URL": redis_url, "DEPLOYMENT": "shop", "PORT": free_port()}
    done: subprocess.CompletedProcess[str] = run("run", **taken)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "REDIS_URL" in done.stderr
    assert "set DEPLOYMENT" in done.stderr


@pytest.mark.anyio
async def test_name_belongs_to_the_first_database_and_until_one_is_known_to_its_address(redis: Redis) -> None:
    def deployment(identity: str, address: str) -> Deployment:
        made = Deployment(Keys("shop"), address=address)
        made.identity = identity
        return made

    assert await deployment("", "here").claim(redis), "nobody has used the name"
    assert await deployment("one", "here").claim(redis)
    assert not await deployment("two", "here").claim(redis)
    assert await deployment("one", "by another name").claim(redis)
    assert await deployment("", "by another name").claim(redis)
    assert not await deployment("", "elsewhere").claim(redis)
    for unreadable in (redis.set, redis.rpush):
        await redis.delete(Keys("shop").tagged("deployment"))
        await unreadable(Keys("shop").tagged("deployment"), "zzz")
        assert await deployment("", "here").claim(redis)
        assert await deployment("two", "here").claim(redis)
    (key,) = [key async for key in redis.scan_iter()]
    assert 0 < await redis.ttl(key) <= 600


@pytest.mark.drives("links")
def test_worker_leaves_the_cache_of_another_database_alone(start_service: StartService, redis_url: str) -> None:
    service = start_service(workers=1, DEPLOYMENT="shop")
    with redis_sync.Redis.from_url(redis_url) as client:
        key = Keys("shop").tagged("deployment")
        client.set(key, "another/1 elsewhere")
        httpx.post(f"{service.url}/links", json={"url": "http://example.com/own", "code": "own1"})
        eventually(lambda: httpx.get(f"{service.url}/readyz").json()["redis"] == "unavailable")
        client.set("shop:links:target:own1", b"1||http://example.com/theirs")
        assert httpx.get(f"{service.url}/r/own1").headers["location"] == "http://example.com/own"
        client.delete(key)
        eventually(lambda: httpx.get(f"{service.url}/readyz").json()["redis"] == "ok")


def test_keys_carry_any_name_and_keep_their_hash_tag() -> None:
    keys = Keys("a{b}:c d")
    assert keys.prefix == "a%7Bb%7D%3Ac%20d:"
    assert keys.tagged("links", "clicks") == "{a%7Bb%7D%3Ac%20d:links}:clicks"
