"""Every line of a running service is as docs/logs.schema.json says."""

import asyncio
import json
import os
import signal
from collections.abc import MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import jsonschema_rs
import pytest
from opentelemetry.trace import SpanContext

from brigade.telemetry import logs
from brigade.telemetry.access_log import LINES_FOR_PEOPLE, AccessLog
from brigade.telemetry.rendering import as_json, renderer
from local.servers import Valkey
from tests.brigade.ops.test_ops import eventually
from tests.conftest import StartService
from tests.running import RunningService

pytestmark = [pytest.mark.drives("links"), pytest.mark.anyio]

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "logs.schema.json").read_text())


def lines(service: RunningService) -> list[dict[str, Any]]:
    """Of stdout and stderr together."""
    return [json.loads(line) for line in service.log().splitlines()]


def line_of(service: RunningService, path: str) -> dict[str, Any]:
    def found() -> list[dict[str, Any]]:
        return [line for line in lines(service) if line["event"] == "request" and line["path"] == path]

    eventually(lambda: bool(found()))
    return found()[-1]


def test_every_line_is_as_the_schema_says(start_service: StartService, valkey: Valkey) -> None:
    service = start_service(workers=2, LOOP_BLOCKED_MS=50)
    httpx.post(f"{service.url}/links", json={"url": "https://example.com", "code": "logged"}).raise_for_status()
    for path in ("/r/logged", "/nowhere", f"/r/{'x' * 20_000}", "/links/logged/qr", "/lab/sleep/blocking?ms=300"):
        httpx.get(f"{service.url}{path}")
    valkey.stop()
    eventually(lambda: "backend is left alone" in service.log())
    valkey.start()
    eventually(lambda: "backend answers again" in service.log())
    os.kill(service.worker_pids()[0], signal.SIGKILL)
    eventually(lambda: "ended: died." in service.log() and "event loop was blocked" in service.log())
    service.stop()
    assert lines(service)[0]["plan"]["workers"]["value"] == 2
    for line in lines(service):
        jsonschema_rs.validate(SCHEMA, line, validate_formats=True)


def test_text_for_people_obeys_nobody() -> None:
    path = "/\x1b[2J\x9b31m\n\u202e\x07"
    line = renderer("console")({"event": "request", "path": path, "status": 404}).decode()
    assert line.removesuffix("\n").isprintable()
    assert r"path=/\x1b[2J\x9b31m\n" in line
    event = {"event": "no\x1b[2J", "exception": "Traceback:\n\tValueError: \r\x1b]0;mine\x07"}
    line = renderer("console")(event).decode()
    assert line.replace("\n", "").replace("\t", "").isprintable()
    assert r"ValueError: \r\x1b]0;mine\x07" in line


@pytest.mark.parametrize(
    "value", ["\u2028", "\x85", "\ud800", 2**70, [float("inf"), 2**70], object(), {1: 2}, "\x00\n\x7f"]
)
def test_json_is_one_line_of_ascii_whatever_is_in_it(value: object) -> None:
    line = as_json({"event": "x", "value": value})
    assert line.isascii()
    assert line.decode().removesuffix("\n").isprintable()
    assert json.loads(line, parse_constant=pytest.fail)["event"] == "x"


class _Nameless(type):
    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise RuntimeError


def test_an_exception_that_cannot_be_rendered_is_logged_all_the_same() -> None:
    error = _Nameless("Odd", (Exception,), {})("x")
    event = logs._format_exception(None, "", {"event": "unhandled error", "exc_info": error})
    assert json.loads(as_json(event)) == {
        "event": "unhandled error",
        "exception": "The traceback cannot be rendered: RuntimeError.",
    }


async def test_people_are_shown_some_requests_of_a_second_and_told_of_the_others() -> None:
    shown: list[dict[str, Any]] = []

    def render(line: MutableMapping[str, Any]) -> bytes:
        shown.append(dict(line))
        return b""

    access = AccessLog(lambda _: None, render, for_people=True)
    line = access.line({"method": "GET", "path": "/"}, b"abc", 200, 0.001, {}, None)
    for _ in range(100):
        access.write(line)
    assert len(shown) == LINES_FOR_PEOPLE
    while len(shown) == LINES_FOR_PEOPLE:  # noqa: ASYNC110 - a timer of the log's own
        await asyncio.sleep(0.01)
    assert (shown[-1]["event"], shown[-1]["lines"]) == ("requests that are not shown", 100 - LINES_FOR_PEOPLE)
    access.write(line)
    assert shown[-1] is not line
    assert len(shown) == LINES_FOR_PEOPLE + 2


PLAIN = {"method": "GET", "path": "/r/abc", "client": ("127.0.0.1", 1), "route": SimpleNamespace(path="/r/{code}")}


@pytest.mark.parametrize(
    ("scope", "is_plain"),
    [
        (PLAIN, True),
        (PLAIN | {"route": None}, True),
        (PLAIN | {"client": None}, False),
        (PLAIN | {"key": "app"}, False),
        *[
            (PLAIN | {"path": path}, False)
            for path in ('/"', "/\\", "/a b", "/\n", "/\x7f", "/é", "/\ud800", "/" + "a" * 300)
        ],
        (PLAIN | {"client": ('", "status": 200, "x": "', 0)}, False),
        (PLAIN | {"client": ("1" * 30_000, 0)}, False),
    ],
)
@pytest.mark.parametrize("place", [None, SpanContext(0xABC << 96, 0xDEF, is_remote=False)])
def test_a_line_that_is_written_the_short_way_is_the_same(
    scope: dict[str, Any], place: SpanContext | None, *, is_plain: bool
) -> None:
    lines: list[bytes] = []
    access = AccessLog(lines.append, as_json, for_people=False)
    about: Any = (b"abc", 0, 0.0123456, {"redis": 0.001, "queue": 0.02}, place)
    assert access.write_plain(scope, *about) is is_plain
    assert len(as_json(access.line(scope, *about))) < 2500
    if is_plain:
        access.write(access.line(scope, *about))
        short, long = map(json.loads, lines)
        assert list(short) == list(long)
        assert short | {"timestamp": ""} == long | {"timestamp": ""}
        assert len(short["timestamp"]) == len(long["timestamp"])


def test_a_request_says_where_its_time_went(start_service: StartService) -> None:
    service = start_service(workers=1, DB_CONNECTION_BUDGET=4)
    for path in ("/lab/cpu/in-lane", "/lab/io/db", "/lab/io/cache", "/lab/sleep/blocking"):
        httpx.get(f"{service.url}{path}?ms=300").raise_for_status()
    computed, read = line_of(service, "/lab/cpu/in-lane"), line_of(service, "/lab/io/db")
    assert computed["lane_ms"] > computed["duration_ms"] / 2
    assert read["postgres_ms"] >= 300
    assert line_of(service, "/lab/sleep/blocking")["loop_ms"] >= 300
    for line in (computed, read):
        parts = [
            value for key, value in line.items() if key in {"queue_ms", "lane_ms", "postgres_ms", "redis_ms", "loop_ms"}
        ]
        assert abs(sum(parts) - line["duration_ms"]) < 0.1
