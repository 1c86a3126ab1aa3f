import asyncio
import contextlib
from dataclasses import replace
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from brigade.errors import CacheUnavailable
from brigade.resources import Resources
from local.servers import Valkey
from service.features.links import redis_clicks
from service.features.links.cache import BURIED, MAX_LAG_S, UNKNOWN, Target, bury_target, fill_targets, read_targets
from service.features.links.redis_clicks import Taken, add_clicks, click_keys, forget_clicks, take_clicks

pytestmark = pytest.mark.anyio

HERE = Target(1, b"http://example.com/?a|b", None)
SOON = Target(2, b"http://example.com/", 4102444800.25)


async def test_a_target_comes_back_as_it_was(resources: Resources, redis: Redis) -> None:
    await fill_targets(resources.cache, {"here": HERE, "soon": SOON, "nope": UNKNOWN})
    targets = await read_targets(resources.cache, ["here", "soon", "nope", "else"])
    assert targets == {"here": HERE, "soon": SOON, "nope": UNKNOWN}
    assert targets["nope"] is UNKNOWN
    keys = [key async for key in redis.scan_iter()]
    assert len(keys) == 3
    for key in keys:
        assert key.startswith(f"{resources.cache.key_prefix}links:target:".encode())
        assert 0 < await redis.ttl(key) <= 300


async def test_a_new_link_replaces_what_was_unknown(resources: Resources) -> None:
    await fill_targets(resources.cache, {"code": UNKNOWN})
    await fill_targets(resources.cache, {"code": HERE})
    await fill_targets(resources.cache, {"code": UNKNOWN})  # read before the link was made
    assert await read_targets(resources.cache, ["code"]) == {"code": HERE}


async def test_a_late_reader_does_not_bring_a_deleted_link_back(resources: Resources, redis: Redis) -> None:
    await fill_targets(resources.cache, {"code": HERE})
    await bury_target(resources.cache, "code", worker_timeout_s=30)
    await fill_targets(resources.cache, {"code": HERE})
    assert await read_targets(resources.cache, ["code"]) == {"code": BURIED}
    outlives = MAX_LAG_S + 30  # a replica that lags, and a worker that is blocked
    assert await redis.ttl(f"{resources.cache.key_prefix}links:target:code") > outlives


async def test_clicks_are_added_once_a_sequence_number(resources: Resources, redis: Redis) -> None:
    for journal, sequence, clicks in [
        ("a", 1, {7: 2}),
        ("a", 1, {7: 2}),
        ("a", 2, {7: 1, 8: 1}),
        ("b", 1, {8: 5}),
        ("a", 1, {7: 9}),
    ]:
        await add_clicks(resources.cache, journal=journal, sequence=sequence, clicks=clicks)
    assert await redis.hgetall(click_keys(resources.cache).clicks) == {b"7": b"3", b"8": b"6"}


async def test_a_full_batch_fits_in_a_call(resources: Resources, redis: Redis) -> None:
    await add_clicks(resources.cache, journal="a", sequence=1, clicks=dict.fromkeys(range(4096), 1))
    assert await redis.hlen(click_keys(resources.cache).clicks) == 4096


async def test_what_was_taken_is_taken_again_until_it_is_forgotten(resources: Resources, redis: Redis) -> None:
    cache = resources.cache
    assert (await take_clicks(cache)).clicks == {}
    await add_clicks(cache, journal="a", sequence=1, clicks={7: 2})
    first = await take_clicks(cache)
    assert first.clicks == {7: 2}
    await add_clicks(cache, journal="a", sequence=2, clicks={7: 1})
    assert (await take_clicks(cache)).clicks == {}  # another has the lease
    await redis.delete(click_keys(cache).lease)  # that one died
    assert replace(await take_clicks(cache), backlog=1) == first
    await forget_clicks(cache, uuid4().hex)
    await redis.delete(click_keys(cache).lease)
    assert replace(await take_clicks(cache), backlog=1) == first
    await forget_clicks(cache, first.batch)
    second = await take_clicks(cache)
    assert (second.batch != first.batch, second.clicks) == (True, {7: 1})


@settings(
    max_examples=30, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(["add", "repeat", "take", "die", "forget"]), max_size=25), st.integers(1, 5))
async def test_no_order_of_events_loses_or_doubles_a_click(
    resources: Resources, redis: Redis, events: list[str], most_moved: int
) -> None:
    cache = resources.cache
    await redis.flushdb()
    sequence, added = 0, 0
    moved: dict[str, dict[int, int]] = {}
    for event in [*events, "die", *["take", "forget"] * 25]:
        match event:
            case "add":
                sequence, added = sequence + 1, added + sequence + 1
                await add_clicks(cache, journal="a", sequence=sequence, clicks={sequence % 7: sequence})
            case "repeat" if sequence:
                await add_clicks(cache, journal="a", sequence=sequence, clicks={sequence % 7: sequence})
            case "take":
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(redis_clicks, "MOST_MOVED", most_moved)
                    taken = await take_clicks(cache)
                if taken.clicks:
                    assert moved.setdefault(taken.batch, taken.clicks) == taken.clicks
                    assert len(taken.clicks) <= most_moved
            case "die":
                await redis.delete(click_keys(cache).lease)
            case "forget" if moved:
                await forget_clicks(cache, list(moved)[-1])
    assert sum(sum(clicks.values()) for clicks in moved.values()) == added


async def test_what_was_taken_is_on_the_disk_of_redis(resources: Resources, redis: Redis, valkey: Valkey) -> None:
    await add_clicks(resources.cache, journal="a", sequence=1, clicks={7: 2})
    taken = await take_clicks(resources.cache)
    assert (await redis.info("commandstats"))["cmdstat_waitaof"]["calls"] >= 1
    valkey.kill()
    valkey.start()
    again = Taken(0, "", {})
    async with asyncio.timeout(10):
        while not again.clicks:  # until the lease of the first has run out
            await asyncio.sleep(0.1)
            with contextlib.suppress(CacheUnavailable):  # until the breaker tries again
                again = await take_clicks(resources.cache)
    assert again == taken


async def test_a_redis_that_keeps_nothing_on_disk_is_not_waited_for(resources: Resources, redis: Redis) -> None:
    await redis.config_set("appendonly", "no")
    try:
        await add_clicks(resources.cache, journal="a", sequence=1, clicks={7: 2})
        assert (await take_clicks(resources.cache)).clicks
    finally:
        await redis.config_set("appendonly", "yes")
