"""Hot requests that are answered without a task: as the task would answer them, and by it where they cannot be."""

import asyncio
import gc
import json
import weakref
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from starlette.types import ASGIApp, Message, Scope
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from brigade.errors import Problem
from brigade.settings import Settings
from brigade.telemetry import logs, metrics
from brigade.web.hot import HotRoute, Shortcut, answer, served_by
from tests.as_served import as_served
from tests.bare import Bare

pytestmark = pytest.mark.anyio

counted: list[str] = []
lookups: list[str] = []


class Unkind(Problem):
    status, type, title = 418, "urn:problem:unkind", "Not you"


def look_up(scope: Scope) -> "asyncio.Future[str]":
    name = scope["path_params"]["name"]
    lookups.append(name)
    if name == "unlooked":
        raise RuntimeError("no lookup today")
    if name == "coroutine":
        return _hello()  # type: ignore[return-value]
    found: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    if name == "unfound":
        asyncio.get_running_loop().call_soon(found.set_exception, Unkind("Come back later."))
    else:
        asyncio.get_running_loop().call_soon(found.set_result, name)
    return found


async def _hello() -> str:
    return "hello"


def greet(scope: Scope, name: str) -> Message | None:
    if name == "unkind":
        raise Unkind("Come back later.")
    if name == "broken":
        raise ZeroDivisionError
    if name == "nobody":
        return None
    return answer(200, [(b"content-type", b"text/plain")], b"hello", before=lambda: counted.append(name))


@served_by(Shortcut(look_up, greet))
async def greeting(name: str) -> None:
    """Greet somebody."""
    raise AssertionError(name)


router = APIRouter()
router.add_api_route("/hot/{name}", greeting, methods=["GET"], route_class_override=HotRoute)


@pytest.fixture(autouse=True)
def nothing_yet() -> Iterator[None]:
    yield
    counted.clear()
    lookups.clear()


def open_service(sample: float, **settings: Any) -> Bare:
    service = Bare(Settings(access_log_sample=sample, expose_worker=True, **settings), [router])
    service.middleware_stack = service.build_middleware_stack()
    service.telemetry = False
    return service


def client(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://a")


def get_scope(name: str) -> Scope:
    return {"type": "http", "method": "GET", "path": f"/hot/{name}", "headers": [], "state": {}}


async def get(path: str, *, sample: float) -> tuple[httpx.Response, Bare]:
    service = open_service(sample)
    async with client(as_served(service, {})) as visitor:
        return await visitor.get(path, headers={"x-request-id": "abc"}), service


def logged(capfd: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    return [line for line in lines if line["logger"] != "httpx"]


async def test_the_answer_is_the_one_of_a_task(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    for sample, events in ((0.0, []), (1.0, ["request"])):
        response, service = await get("/hot/world", sample=sample)
        assert (response.status_code, response.text) == (200, "hello")
        assert set(response.headers) == {
            "content-type", "content-length", "x-request-id", "x-worker",
            "x-content-type-options", "x-frame-options", "referrer-policy",
        }  # fmt: skip
        assert response.headers["x-request-id"] == "abc"
        assert service.stats.requests_total == 1
        assert sum(service.stats.of_route({"route": router.routes[0], "method": "GET"}).durations.counts) == 1
        assert [line["event"] for line in logged(capfd)] == events
    assert counted == ["world", "world"]


async def test_an_answer_varies_by_origin_where_pages_of_others_may_read_it() -> None:
    """Or a cache would give a page the answer to somebody who named no origin, and the browser would keep it from the page."""
    async with client(as_served(open_service(0.0, cors_origins="https://app.example"), {})) as visitor:
        for headers in ({}, {"origin": "https://app.example"}, {"origin": "https://other.example"}):
            assert (await visitor.get("/hot/world", headers=headers)).headers["vary"] == "Origin"
    assert counted == ["world"] * 3


FORWARDED = [(b"x-forwarded-for", b"203.0.113.9"), (b"x-forwarded-for", b"198.51.100.7, 127.0.0.1")]


@pytest.mark.parametrize(
    ("peer", "headers", "client"),
    [
        ("127.0.0.1", FORWARDED, "198.51.100.7"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("192.0.2.3", FORWARDED, "192.0.2.3"),  # a stranger may say what it likes
        ("127.0.0.1", [(b"x-forwarded-for", b"")], "127.0.0.1"),
    ],
)
async def test_its_line_of_the_log_is_the_one_of_a_task(
    capfd: pytest.CaptureFixture[str], peer: str, headers: list[tuple[bytes, bytes]], client: str
) -> None:
    logs.configure(Settings())
    service = open_service(1.0)
    ended = asyncio.Event()

    def finish(_: Message | None) -> bool:
        ended.set()
        return True

    asked: Scope = {**get_scope("world"), "headers": headers, "client": (peer, 1), "root_path": ""}
    assert service.shortcuts.begin({**asked}, finish)
    await ended.wait()
    (by_shortcut,) = logged(capfd)

    async def ignore(_: Message) -> None: ...

    async def receive() -> Message:
        raise AssertionError

    by_uvicorn: Any = ProxyHeadersMiddleware(service, Settings().trusted_proxies)  # type: ignore[arg-type]
    await by_uvicorn({**asked}, receive, ignore)
    (by_task,) = logged(capfd)
    assert by_shortcut.keys() - {"redis_ms"} == by_task.keys()
    same = ("event", "level", "logger", "pid", "method", "path", "route", "status", "client")
    assert [by_shortcut[name] for name in same] == [by_task[name] for name in same]
    assert by_shortcut["client"] == client


@pytest.mark.parametrize(
    ("name", "status", "asked"),
    [("unkind", 418, 1), ("unfound", 418, 1), ("broken", 500, 1), ("nobody", 404, 1), ("unlooked", 500, 2)],
)
async def test_what_it_cannot_answer_is_answered_by_a_task_without_another_lookup(
    name: str, status: int, asked: int
) -> None:
    response, service = await get(f"/hot/{name}", sample=0.0)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"] == "abc"
    assert (service.stats.requests_total, service.stats.in_flight) == (1, 0)
    assert lookups == [name] * asked
    assert not counted


async def test_who_watches_sees_the_requests_that_are_drawn() -> None:
    service = open_service(0.0)
    watched: list[str] = []

    def trace(app: ASGIApp) -> ASGIApp:
        watched.append("one")
        return app

    drawn = iter([False, True, False])
    service.stats.trace, service.stats.draws = trace, lambda: next(drawn)
    async with client(as_served(service, {})) as visitor:
        for _ in range(3):
            assert (await visitor.get("/hot/world")).text == "hello"
    assert watched == ["one"]


async def test_a_client_that_went_away_is_no_answer(capfd: pytest.CaptureFixture[str]) -> None:
    logs.configure(Settings())
    service = open_service(1.0)
    before = metrics.abandoned.total
    written = asyncio.Event()

    def finish(_: Message | None) -> bool:
        written.set()
        return False

    assert service.shortcuts.begin(get_scope("world"), finish)
    assert service.stats.in_flight == 1
    await written.wait()
    assert service.stats.in_flight == 0
    assert metrics.abandoned.total == before + 1
    assert not counted
    (line,) = logged(capfd)
    assert (line["status"], line["path"]) == (499, "/hot/world")


@pytest.mark.parametrize("name", ["unfound", "nobody"])
async def test_what_it_could_not_answer_is_not_remembered_and_is_abandoned_with_its_client(name: str) -> None:
    """A connection is remembered by whoever remembers its `finish`, until garbage is collected."""
    service = open_service(0.0)
    before, asked = metrics.abandoned.total, 0

    class Finish:
        def __call__(self, _: Message | None) -> bool:
            nonlocal asked
            asked += 1
            return False

    finish = Finish()
    remembered = weakref.ref(finish)
    gc.disable()
    try:
        assert service.shortcuts.begin(get_scope(name), finish)
        del finish
        await asyncio.sleep(0.01)
        assert (asked, remembered()) == (1, None)
    finally:
        gc.enable()
    assert (service.stats.requests_total, metrics.abandoned.total) == (1, before + 1)


async def test_a_lookup_that_is_no_future_is_left_to_the_task() -> None:
    """Of an `async def look_up`, say: the parser of the connection would take the error for the client's."""
    service = open_service(0.0)
    with pytest.warns(RuntimeWarning, match="never awaited"):
        assert not service.shortcuts.begin(get_scope("coroutine"), lambda _: True)
    assert service.stats.in_flight == 0
