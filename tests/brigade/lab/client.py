"""A browser's part, without a browser: requests, and the stream of events."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.running import RunningService

Event = tuple[str, dict[str, Any], str]
"""Name, data and id."""


def client_of(service: RunningService) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=service.url, timeout=30)


async def timed(call: Awaitable[object]) -> float:
    began = time.perf_counter()
    await call
    return time.perf_counter() - began


async def events_until(client: httpx.AsyncClient, done: Callable[[list[Event]], bool], after: str = "") -> list[Event]:
    found: list[Event] = []
    name = ""
    headers = {"Last-Event-ID": after} if after else {}
    async with asyncio.timeout(20), client.stream("GET", "/lab/events", headers=headers) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        async for line in stream.aiter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                found.append((name, json.loads(value), ""))
            elif field == "id":
                found[-1] = (*found[-1][:2], value)
            elif not line and done(found):
                break
    return found


def requests_in(events: list[Event]) -> list[dict[str, Any]]:
    return [request for name, data, _ in events if name == "work" for request in data["requests"]]
