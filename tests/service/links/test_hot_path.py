"""What a request may cost, in counts that no clock and no other process can change. Whoever adds a call, an await or a
round trip to the hot path finds it here, and decides whether it is worth it.
"""

import asyncio
import gc
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from inspect import CO_COROUTINE
from types import FrameType
from typing import Any

import pytest
from redis.asyncio import Redis
from starlette.types import Message

from brigade.resources import Resources
from brigade.settings import Settings
from brigade.telemetry import logs
from brigade.telemetry.metrics import postgres
from service.features.links import clicks, router
from service.features.links.resolve import Resolver
from service.features.links.store import insert_link
from tests.bare import Bare

pytestmark = pytest.mark.anyio

BURST = 64
CALLS, RESUMPTIONS = 43 if sys.version_info < (3, 12) else 41, 8
"""Of Python functions for one redirect among `BURST` by a task, coroutines that are resumed included; and these alone. Each
request is logged, as by default. Since Python 3.12 the current task is asked for in C, which happens twice.
"""
CALLS_OF_SHORTCUT = 34
"""For one without a task: no coroutine is resumed for it."""
CALLS_OF_READ = 255
"""A bound. Most of them are FastAPI's and Starlette's own; FastAPI's search through included routers would make it some 320."""

CALLS_OF_CREATE = 392
"""A bound. Most of them are those of FastAPI and of Python's library; a statement for each link would make it some 525."""
OF_OTHERS = re.compile(
    r"/(brigade/(jobs|outgoing)|pgqueuer|aiohttp|websockets)/|/brigade/web/(cors|event_stream|streams)\.py$"
).search
"""Files of jobs, calls to other services, streams and pages of other origins, none of which these requests use."""
LINK = b'{"url": "https://example.com/where/it/leads"}'

Ask = Callable[..., Awaitable[int]]


class Costs:
    """What the loop's thread does between `start` and `stop`."""

    def __init__(self) -> None:
        self.calls = self.resumptions = self.tasks = 0
        self.files: Counter[str] = Counter()

    def start(self) -> None:
        gc.collect()
        gc.disable()  # or the finalizers of what other tests have left would be counted, whenever it is found
        asyncio.get_running_loop().set_task_factory(self._count_task)
        sys.setprofile(self._count_call)

    @property
    def of_others(self) -> list[str]:
        return [file for file in self.files if OF_OTHERS(file)]

    @property
    def timeouts(self) -> int:
        """Calls of `asyncio.timeout`, which makes a timer each time, and of its methods."""
        return sum(calls for file, calls in self.files.items() if file.endswith("/asyncio/timeouts.py"))

    def stop(self) -> None:
        sys.setprofile(None)
        asyncio.get_running_loop().set_task_factory(None)
        gc.enable()

    def _count_task(self, loop: asyncio.AbstractEventLoop, job: Any, **options: Any) -> "asyncio.Task[Any]":
        self.tasks += 1
        return asyncio.Task(job, loop=loop, **options)

    def _count_call(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and not frame.f_code.co_filename.endswith("test_hot_path.py"):
            self.calls += 1
            self.resumptions += bool(frame.f_code.co_flags & CO_COROUTINE)
            self.files[frame.f_code.co_filename] += 1


@pytest.fixture
async def ask(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ask]:
    """The status of a GET, or of a POST of `body`, by the application itself, without shortcuts."""
    async with opened(settings, monkeypatch) as (service, state):
        yield partial(ask_by_task, service, state)


@pytest.fixture
async def ask_by_shortcut(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ask]:
    async with opened(settings, monkeypatch) as (service, state):

        def ask(path: str) -> asyncio.Future[int]:
            ended = asyncio.get_running_loop().create_future()

            def finish(message: Message | None) -> bool:
                assert message
                ended.set_result(message["status"])
                return True

            assert service.shortcuts.begin(get(path, state), finish)
            return ended

        yield ask


@asynccontextmanager
async def opened(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Bare, Mapping[str, Any] | None]]:
    """Clicks stay in the journal, so that nothing else is under way."""
    for pause in ("SEND_EVERY_S", "MOVE_EVERY_S", "ADOPT_EVERY_S"):
        monkeypatch.setattr(clicks, pause, 60.0)
    logs.configure(settings)
    service = Bare(settings, [router])
    async with service.router.lifespan_context(service) as state:
        yield service, state


async def ask_by_task(service: Bare, state: Mapping[str, Any] | None, path: str, body: bytes = b"") -> int:
    statuses: list[int] = []

    async def send(message: Message) -> None:
        statuses.append(message.get("status", 0))

    async def receive() -> Message:
        assert body, "there is no body"
        return {"type": "http.request", "body": body}

    scope = get(path, state)
    if body:
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        scope |= {"method": "POST", "headers": headers}
    extensions = {"service.answer": send, "service.before_answer": lambda count: count()}
    await service(scope | {"extensions": extensions}, receive, send)
    return statuses[0]


def get(path: str, state: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        "type": "http", "method": "GET", "path": path, "headers": [], "query_string": b"", "root_path": "",
        "http_version": "1.1", "scheme": "http", "client": ("127.0.0.1", 1), "server": ("a", 80), "state": dict(state or {}),
    }  # fmt: skip


async def commands(redis: Redis) -> Counter[str]:
    """What the server was sent, by its own count."""
    return Counter({name: stats["calls"] for name, stats in (await redis.info("commandstats")).items()})


@asynccontextmanager
async def counted(redis: Redis) -> AsyncIterator[tuple[Costs, Counter[str]]]:
    sent: Counter[str] = Counter()
    costs, before, statements = Costs(), await commands(redis), sum(postgres.acquired.counts)
    costs.start()
    try:
        yield costs, sent
    finally:
        costs.stop()
    sent.update(await commands(redis) - before - Counter({"cmdstat_info": 1}))
    sent["sql"] = sum(postgres.acquired.counts) - statements


async def burst(ask: Ask, paths: list[str], **options: bytes) -> Counter[int]:
    return Counter(await asyncio.gather(*(ask(path, **options) for path in paths)))


async def test_counts_are_of_the_loop_that_serves() -> None:
    """Another loop makes calls of its own, and a plugin of pytest may bring one."""
    assert type(asyncio.get_running_loop()).__module__ == "uvloop"


async def test_a_redirect_costs_what_it_did(ask: Ask, resources: Resources, redis: Redis) -> None:
    paths = [f"/r/{(await insert_link(resources.pg, url='http://example.com/')).code}" for _ in range(BURST)]
    for _ in range(3):  # caches fill, connections open
        await burst(ask, paths)
    async with counted(redis) as (costs, sent):
        assert await burst(ask, paths) == {307: BURST}
    assert +sent == {"cmdstat_mget": 1}
    assert costs.tasks == BURST + 1  # ours, and the one that asks Redis for all of them
    assert costs.resumptions // BURST == RESUMPTIONS
    assert costs.calls // BURST == CALLS
    assert costs.of_others == []


async def test_a_redirect_needs_no_task(ask_by_shortcut: Ask, resources: Resources, redis: Redis) -> None:
    paths = [f"/r/{(await insert_link(resources.pg, url='http://example.com/')).code}" for _ in range(BURST)]
    resolver = Resolver(resources.pg, resources.cache)
    await asyncio.gather(*(resolver.resolve(path.removeprefix("/r/")) for path in paths))
    for _ in range(2):
        await burst(ask_by_shortcut, paths)
    async with counted(redis) as (costs, sent):
        assert await burst(ask_by_shortcut, paths) == {307: BURST}
    assert +sent == {"cmdstat_mget": 1}
    assert costs.tasks == 1  # the one that asks Redis for all of them
    assert costs.resumptions < BURST
    assert costs.calls // BURST == CALLS_OF_SHORTCUT
    assert costs.of_others == []


async def test_reads_of_one_moment_are_one_statement(ask: Ask, resources: Resources, redis: Redis) -> None:
    paths = [f"/links/{(await insert_link(resources.pg, url='http://example.com/')).code}" for _ in range(BURST)]
    await burst(ask, paths)
    async with counted(redis) as (costs, sent):
        assert await burst(ask, paths) == {200: BURST}
    assert +sent == {"sql": 1}
    assert costs.calls // BURST <= CALLS_OF_READ
    assert costs.timeouts < BURST
    assert costs.of_others == []
    assert not [file for file in costs.files if file.endswith("starlette/middleware/base.py")]  # 55 % of the throughput
    assert not [file for file in costs.files if file.endswith("fastapi/encoders.py")]  # pydantic's own is in Rust


async def test_links_made_in_one_moment_are_one_statement_and_one_command(ask: Ask, redis: Redis) -> None:
    paths = ["/links"] * BURST
    await burst(ask, paths, body=LINK)
    async with counted(redis) as (costs, sent):
        assert await burst(ask, paths, body=LINK) == {201: BURST}
    by_script = {"cmdstat_get": BURST, "cmdstat_set": BURST}
    assert +sent == {"sql": 1, "cmdstat_eval": 1, **by_script}
    assert costs.tasks <= BURST + 3  # ours, the two that ask, and one in which asyncpg takes its connection back
    assert costs.calls // BURST <= CALLS_OF_CREATE
    assert costs.timeouts < BURST
    assert costs.of_others == []
