"""The limit that all workers of all replicas keep together, on a real Redis."""

import asyncio
import os
import signal
from collections import Counter

import httpx
import pytest
from redis.asyncio import Redis

from brigade.errors import TooManyRequests
from brigade.settings.callers import Rate
from brigade.stores.breaker import Breaker
from brigade.stores.cache import Cache
from brigade.web import rate_limit as allowance_module
from brigade.web.rate_limit import Allowance, name_address
from local.servers import Valkey
from tests.brigade.ops.test_metrics import total
from tests.brigade.ops.test_ops import eventually
from tests.brigade.server.clients import exchange
from tests.conftest import StartService
from tests.running import RunningService

KEYS = "first:opensesame,second:abracadabra"
NEW = {"url": "https://example.com/"}


@pytest.fixture
async def cache(redis: Redis) -> Cache:
    return Cache(redis, Breaker())


async def taken(allowance: Allowance, caller: str, *, asked: int) -> int:
    refused = 0
    for _ in range(asked):
        try:
            await allowance.take(caller)
        except TooManyRequests:
            refused += 1
    return asked - refused


@pytest.mark.anyio
async def test_workers_share_an_allowance_and_callers_do_not(cache: Cache) -> None:
    workers = [Allowance(cache, Rate(10, 3600)) for _ in range(4)]
    assert sum(await asyncio.gather(*(taken(worker, "key:a", asked=7) for worker in workers))) == 10
    assert await taken(workers[0], "key:b", asked=11) == 10


@pytest.mark.anyio
async def test_an_allowance_comes_back_step_by_step_and_leaves_nothing_behind(cache: Cache) -> None:
    worker = Allowance(cache, Rate(4, 1))
    assert await taken(worker, "key:a", asked=5) == 4
    with pytest.raises(TooManyRequests) as refusal:
        await worker.take("key:a")
    assert (refusal.value.headers or {})["Retry-After"] == "1"
    await asyncio.sleep(0.5)  # two steps
    assert await taken(worker, "key:a", asked=2) == 2
    await asyncio.sleep(1.1)
    assert await cache.redis.keys("*") == []
    assert await taken(worker, "key:a", asked=5) == 4


@pytest.mark.anyio
async def test_who_is_refused_costs_no_round_trip(cache: Cache) -> None:
    worker = Allowance(cache, Rate(1, 3600))
    assert await taken(worker, "key:a", asked=2) == 1
    before = (await cache.redis.info("commandstats"))["cmdstat_eval"]["calls"]
    assert await taken(worker, "key:a", asked=50) == 0
    assert (await cache.redis.info("commandstats"))["cmdstat_eval"]["calls"] == before


@pytest.mark.anyio
async def test_requests_of_one_moment_cost_one_round_trip_and_are_counted_one_by_one(cache: Cache) -> None:
    worker = Allowance(cache, Rate(10, 3600))
    await cache.redis.config_resetstat()
    await cache.redis.lpush(f"{cache.key_prefix}rate:key:c", "no moment")
    callers = [f"key:{name}" for name in "ab" * 16 + "c" * 4]
    assert sum(await asyncio.gather(*(taken(worker, caller, asked=1) for caller in callers))) == 24
    assert (await cache.redis.info("commandstats"))["cmdstat_eval"]["calls"] == 1
    assert await taken(worker, "key:c", asked=7) == 6


@pytest.mark.anyio
async def test_worker_remembers_a_bounded_number_of_callers(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance_module, "REMEMBERED", 20)
    worker = Allowance(cache, Rate(1, 3600))
    for number in range(100):
        assert await taken(worker, f"key:{number}", asked=2) == 1
    assert len(worker._full_at) <= 20
    assert await taken(worker, "key:0", asked=1) == 0  # forgotten here, and known to Redis


@pytest.mark.parametrize(
    ("host", "caller"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        ("unknown", "unknown"),
        ("x" * 300, "x" * 64),
        ("", ""),
    ],
)
def test_address_is_named_by_whoever_has_it(host: str, caller: str) -> None:
    assert name_address(host) == f"address:{caller}"


def ask(service: RunningService, times: int, key: str = "", method: str = "POST", path: str = "/links") -> Counter[int]:
    headers = {"Connection": "close"} | ({"X-API-Key": key} if key else {})  # so that every worker is asked
    with httpx.Client(base_url=service.url, headers=headers) as client:
        answers = [client.request(method, path, json=NEW if method == "POST" else None) for _ in range(times)]
    for answer in answers:
        if answer.status_code == 429:
            assert answer.headers["content-type"] == "application/problem+json"
            assert int(answer.headers["retry-after"]) > 0
    return Counter(answer.status_code for answer in answers)


@pytest.mark.drives("links")
def test_replicas_keep_one_limit_for_each_key_and_for_each_address(start_service: StartService) -> None:
    one, other = (
        start_service(RATE_LIMIT="12/hour", API_KEYS=KEYS, REPLICAS=2, DB_CONNECTION_BUDGET=40) for _ in range(2)
    )
    assert ask(one, 9, "opensesame") + ask(other, 9, "opensesame") == {201: 12, 429: 6}
    assert ask(other, 2, "abracadabra") == {201: 2}
    # Wrong keys count for their address, as do routes that need none.
    assert ask(one, 4, "guess") + ask(other, 4, "guess") == {401: 8}
    assert ask(one, 3, path="/links/none/qr", method="GET") == {404: 3}
    assert ask(other, 1, path="/links/none", method="GET") == {404: 1}
    assert ask(one, 3, "guess") + ask(other, 3, path="/links/none", method="GET") == {429: 6}
    # A redirect has no limit, and a new worker no allowance of its own.
    assert ask(one, 30, path="/r/none", method="GET") == {404: 30}
    for pid in one.worker_pids():
        os.kill(pid, signal.SIGKILL)
    one.wait_ready()
    assert ask(one, 3, "opensesame") == {429: 3}


@pytest.mark.drives("links")
def test_without_redis_each_worker_keeps_the_limit_for_itself_and_counts_it(
    start_service: StartService, valkey: Valkey
) -> None:
    service = start_service(workers=1, RATE_LIMIT="6/hour")
    assert ask(service, 2) == {201: 2}
    valkey.stop()
    eventually(lambda: "backend is left alone" in service.log())
    assert ask(service, 6) == {201: 4, 429: 2}
    eventually(lambda: total(service.url, "rate_limit_unshared_total") >= 4)


def from_peer(service: RunningService, forwarded: str) -> int:
    head = "GET /links/none HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-Forwarded-For: {}\r\n\r\n"
    return int(exchange(service.port, head.format(forwarded).encode()).split()[1])


@pytest.mark.drives("links")
def test_forged_forwarding_gains_nothing(start_service: StartService) -> None:
    """A proxy appends the address it sees; what stands left of that is the client's own invention."""
    service = start_service(workers=1, RATE_LIMIT="5/hour", FORWARDED_ALLOW_IPS="127.0.0.0/8, 10.1.2.3")
    assert Counter(from_peer(service, f"6.6.6.{number}, 9.9.9.9") for number in range(9)) == {404: 5, 429: 4}
    # Another client of the same proxy, and one behind two of them.
    assert from_peer(service, "9.9.9.9, 8.8.8.8") == 404
    assert from_peer(service, "6.6.6.6, 9.9.9.9, 10.1.2.3") == 429


@pytest.mark.drives("links")
def test_peer_that_is_no_proxy_is_believed_nothing(start_service: StartService) -> None:
    service = start_service(workers=1, RATE_LIMIT="5/hour", FORWARDED_ALLOW_IPS="10.0.0.0/8")
    assert Counter(from_peer(service, f"6.6.6.{number}") for number in range(9)) == {404: 5, 429: 4}
    assert from_peer(service, "10.1.2.3, 8.8.8.8, 10.1.2.3") == 429
