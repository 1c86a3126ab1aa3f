"""The live page's parts and its events, against a running service."""

import asyncio
import os
import time
from pathlib import Path

import pytest
from redis.asyncio import Redis

from brigade.lab import live
from brigade.lab.deps import MAX_VIEWERS
from local.servers import Valkey
from tests.brigade.lab.client import client_of, events_until, requests_in
from tests.conftest import StartService

pytestmark = pytest.mark.anyio


async def test_the_page_and_its_parts_are_cached_and_bring_nothing_from_elsewhere(start_service: StartService) -> None:
    types = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
    async with client_of(start_service(workers=1)) as client:
        page = await client.get("/lab")
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        tag = page.headers["etag"]
        for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
            assert (await client.get("/lab", headers={"If-None-Match": known})).status_code == 304
        for name, content in live.FILES.items():
            answer = await client.get(f"/lab/page/{name}")
            assert answer.content == content
            assert answer.headers["content-type"].startswith(types.get(Path(name).suffix, "text/html"))
        assert (await client.get("/lab/page/nothing.js")).status_code == 404
        assert (await client.get("/lab/page/..%2froutes.py")).status_code == 404


async def test_any_worker_tells_what_all_of_them_do(start_service: StartService) -> None:
    service = start_service(workers=2)
    async with client_of(service) as client:

        async def work_for_all() -> None:
            await asyncio.sleep(1.5)
            for path in ["sleep/blocking", "sleep/awaited", "cpu/in-lane", "cpu/in-threadpool"] * 4:
                await client.get(f"/lab/{path}?ms=120&close=true")

        working = asyncio.create_task(work_for_all())
        events = await events_until(client, lambda _: working.done() and len(requests_in(_)) >= 16)
    assert events[0][0] == "plan"
    assert events[0][1]["plan"]["workers"]["value"] == 2
    told = [data for name, data, _ in events if name == "work"]
    assert {data["worker"] for data in told if data["requests"]} == {data["worker"] for data in told}
    assert len({data["worker"] for data in told}) == 2
    steps = {(request["path"], kind) for request in requests_in(events) for kind, *_ in request["steps"]}
    assert steps >= {
        ("/lab/sleep/blocking", "loop"),
        ("/lab/cpu/in-lane", "lane"),
        ("/lab/cpu/in-threadpool", "thread"),
    }
    longest = {path: 0.0 for path, _ in steps} | {"/lab/sleep/awaited": 0.0}
    for request in requests_in(events):
        for kind, began, ended in request["steps"]:
            if kind == "loop":
                longest[request["path"]] = max(longest[request["path"]], ended - began)
    assert longest["/lab/sleep/blocking"] > 2 * longest["/lab/sleep/awaited"]
    places = [incident["place"] for data in told for incident in data["incidents"] if incident["place"]]
    assert "sleep_blocking" in {place["function"] for place in places}


async def test_a_viewer_who_returns_misses_nothing_and_sees_nothing_twice(start_service: StartService) -> None:
    service = start_service(workers=1)
    async with client_of(service) as client:
        first = await events_until(client, lambda events: len([event for event in events if event[2]]) >= 3)
        last = [identifier for _, _, identifier in first if identifier][-1]
        await client.get("/lab/sleep/awaited?ms=10")
        second = await events_until(client, lambda events: bool(requests_in(events)), after=last)
    identifiers = [identifier for _, _, identifier in second if identifier]
    assert {identifier for _, _, identifier in first if identifier}.isdisjoint(identifiers)
    assert {request["path"] for request in requests_in(second)} == {"/lab/sleep/awaited"}


async def test_nothing_is_told_while_nobody_watches(start_service: StartService, redis: Redis) -> None:
    service = start_service(workers=1, DEPLOYMENT="test")
    async with client_of(service) as client:
        await client.get("/lab/sleep/awaited?ms=10")
        await asyncio.sleep(2.5)
        assert not [key async for key in redis.scan_iter("{test:lab}*")]
        await events_until(client, lambda events: any(name == "work" for name, *_ in events))
        assert await redis.exists("{test:lab}:events")
        await asyncio.sleep(4)  # the workers notice within three seconds
        length = await redis.xlen("{test:lab}:events")
        await asyncio.sleep(1)
        assert await redis.xlen("{test:lab}:events") == length


async def test_a_stream_outlives_the_request_timeout_and_ends_with_its_worker(start_service: StartService) -> None:
    service = start_service(workers=1, REQUEST_TIMEOUT_S=1)
    began = time.monotonic()
    async with client_of(service) as client:
        following = asyncio.create_task(events_until(client, lambda _: False))
        await asyncio.sleep(2)
        assert not following.done()
        os.kill(service.pid, 15)
        events = await following
    ended = time.monotonic()
    assert service.wait() == 0
    assert time.monotonic() - ended < 10
    assert ended - began > 2
    assert events
    assert "Traceback" not in service.log()


async def test_viewers_of_a_worker_are_bounded(start_service: StartService) -> None:
    service = start_service(workers=1)
    async with client_of(service) as client:
        streams = [asyncio.create_task(events_until(client, lambda _: False)) for _ in range(MAX_VIEWERS)]
        await asyncio.sleep(1)
        refused = await client.get("/lab/events")
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:problem:lab-full")
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        await asyncio.sleep(1)
        assert await events_until(client, bool)


async def test_without_redis_the_stream_goes_on_with_its_own_worker(
    start_service: StartService, valkey: Valkey
) -> None:
    service = start_service(workers=2)
    async with client_of(service) as client:
        valkey.stop()
        alone = lambda events: any(data.get("complete") is False for _, data, _ in events)  # noqa: E731
        events = await events_until(client, alone)
        valkey.start()
    assert len(next(data for _, data, _ in events if data.get("complete") is False)["workers"]) == 1
