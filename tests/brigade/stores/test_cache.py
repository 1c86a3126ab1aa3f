import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog
from redis.asyncio import Redis
from redis.exceptions import DataError, ResponseError

from brigade.errors import CacheUnavailable
from brigade.stores import refusals
from brigade.stores.breaker import Breaker
from brigade.stores.cache import Cache
from brigade.stores.redis_client import open_redis, run_all
from brigade.stores.redis_line import Line
from brigade.telemetry.log_throttle import LogThrottle
from brigade.telemetry.metrics import registry

pytestmark = pytest.mark.anyio


@pytest.fixture
async def line(redis: Redis) -> AsyncIterator[Line]:
    line = Line(redis.connection_pool.make_connection())  # type: ignore[no-untyped-call]
    yield line
    await line.close()


@pytest.fixture
async def cache(redis: Redis, line: Line) -> Cache:
    await redis.mset({f"key:{number}": f"value:{number}" for number in range(50)})
    return Cache(redis, Breaker(), line)


async def read(cache: Cache, number: int) -> None:
    assert await cache.mget([f"key:{number}", "none"]) == [f"value:{number}".encode(), None]


async def test_callers_at_the_same_time_get_their_own_answers(cache: Cache) -> None:
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(read(cache, number))


async def test_a_user_who_may_not_name_connections_uses_redis(redis: Redis, redis_url: str) -> None:
    rules = ["reset", "on", ">secret", "~*", "+@read", "+@write", "+@scripting", "+ping"]
    await redis.execute_command("ACL", "SETUSER", "narrow", *rules)  # type: ignore[no-untyped-call]
    server = redis_url.rpartition("@")[2].partition("/")[0]
    narrow = open_redis(f"redis://narrow:secret@{server}", connections=1, timeout_s=5, client_name="worker")
    assert await narrow.get("nothing") is None
    await narrow.aclose()
    plain = open_redis(redis_url, connections=1, timeout_s=5, client_name="worker")
    assert await plain.client_getname() == "worker"
    await plain.aclose()


async def test_a_line_that_was_closed_while_idle_is_opened_again(cache: Cache, redis: Redis) -> None:
    await read(cache, 1)
    assert await redis.client_kill_filter(_type="normal", skipme=True) >= 1  # earlier tests may have left some
    await read(cache, 2)


async def test_a_caller_that_was_cancelled_leaves_no_answer_to_the_next(cache: Cache) -> None:
    for number in range(49):
        caller = asyncio.create_task(cache.mget([f"key:{number}"]))
        for _ in range(number % 7):
            await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        await read(cache, number + 1)


async def test_a_server_that_hangs_is_waited_for_no_longer_than_the_timeout(redis: Redis, redis_url: str) -> None:
    async with Redis.from_url(redis_url, socket_timeout=0.2) as hurried:
        line = Line(hurried.connection_pool.make_connection())  # type: ignore[no-untyped-call]
        cache = Cache(hurried, Breaker(), line)
        await redis.set("key:1", "value:1")
        await read(cache, 1)
        await redis.client_pause(1000, all=True)
        with pytest.raises(CacheUnavailable):
            await cache.mget(["key:2"])
        await redis.client_unpause()
        await read(cache, 1)
        await line.close()


REFUSALS = [
    "MISCONF no disk", "BUSY a script runs", "MASTERDOWN no master", "OOM no memory", "NOREPLICAS too few",
    "LOADING the dataset", "READONLY a replica", "NOPERM not you", "WRONGPASS who are you", "WRONGTYPE a list",
    "ERR unknown command 'EVAL'", "ERR user_script:1: attempt to compare nil with number", "NEWCODE of a later version",
]  # fmt: skip


@pytest.mark.parametrize("answer", REFUSALS)
async def test_whatever_redis_refuses_is_unavailable_in_a_script_a_pipeline_and_on_the_line(
    cache: Cache, line: Line, answer: str
) -> None:
    refused = ("EVAL", f'return redis.error_reply("{answer}")', 0)
    many = [("SET", "key:1", "value:1"), refused, ("GET", "key:2")]
    for _ in range(2):
        with pytest.raises(CacheUnavailable):
            await cache.run(lambda redis: redis.eval(*refused[1:]))
        with pytest.raises(CacheUnavailable):
            await cache.run(lambda redis: run_all(redis, many))
        cache.breaker.succeeded()
        with pytest.raises(CacheUnavailable):
            await cache.run_all(many)
        cache.breaker.succeeded()
        await read(cache, 2)


async def test_refusal_is_logged_with_its_code_once_and_counted_each_time(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusals, "_throttle", LogThrottle())
    before = registry.get_sample_value("store_refusals_total", {"store": "redis"}) or 0
    with structlog.testing.capture_logs() as logged:
        for _ in range(3):
            with pytest.raises(CacheUnavailable):
                await cache.run_all([("SET", "key:1", "1"), ("EVAL", "return redis.error_reply('NOPERM no')", 0)])
        with pytest.raises(CacheUnavailable):
            await cache.run(lambda redis: redis.lpush("key:1", "a list"))
    assert [(line["kind"], bool(line["exc_info"])) for line in logged] == [("NOPERM", False), ("WRONGTYPE", True)]
    assert registry.get_sample_value("store_refusals_total", {"store": "redis"}) == before + 4


@pytest.mark.parametrize("command", [("GET",), ("SET", "key:1", "1", "XX", "NX"), ("EVAL", "no script", 0)])
async def test_command_that_no_server_would_take_is_our_own_mistake(cache: Cache, command: tuple[object, ...]) -> None:
    for call in (lambda redis: redis.execute_command(*command), lambda redis: run_all(redis, [command, ("PING",)])):
        with pytest.raises(ResponseError):
            await cache.run(call)
    with pytest.raises(DataError):
        await cache.run(lambda redis: redis.set("key:1", object()))
    assert cache.breaker.failures == 0


async def test_a_line_that_expires_while_it_is_in_use_answers_first(cache: Cache, line: Line, redis: Redis) -> None:
    strangers = await redis.client_list()
    await read(cache, 1)
    for number in range(2, 30):
        callers = [asyncio.create_task(read(cache, number)) for _ in range(3)]
        for _ in range(number % 7):
            await asyncio.sleep(0)
        line.expire()
        await asyncio.gather(*callers)
    assert not line.busy
    assert len(await redis.client_list()) <= len(strangers) + 4  # none that was given up is still open


async def test_connections_to_a_server_that_has_become_a_replica_are_given_up(cache: Cache, redis: Redis) -> None:
    strangers = {client["id"] for client in await redis.client_list()}
    await read(cache, 1)
    before = {client["id"] for client in await redis.client_list()} - strangers
    assert before
    await redis.replicaof("127.0.0.1", "1")
    try:
        with pytest.raises(CacheUnavailable):
            await cache.run(lambda client: client.set("key:1", "written"))
    finally:
        await redis.replicaof("NO", "ONE")
    await read(cache, 2)
    await cache.run(lambda client: client.set("key:3", "value:3"))
    now = {client["id"] for client in await redis.client_list() if "M" not in client["flags"]}
    assert not now & before
