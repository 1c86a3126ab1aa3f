"""Every line of a running service is as docs/logs.schema.json says."""

import io
import json
import logging
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import structlog

from brigade.settings import Settings
from brigade.telemetry import logs
from local.servers import Valkey
from tests.brigade.ops.test_ops import eventually
from tests.conftest import StartService
from tests.running import RunningService

pytestmark = pytest.mark.drives("links", "lab")

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "logs.schema.json").read_text())


def lines(service: RunningService) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]


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
    for line in lines(service):
        jsonschema_rs.validate(SCHEMA, line, validate_formats=True)


def test_text_for_people_obeys_nobody() -> None:
    render = logs._renderers(Settings(log_format="console"))[-1]
    path = "/\x1b[2J\x9b31m\n\u202e\x07"
    line = render(None, "info", {"event": "request", "path": path, "status": 404})
    assert line.isprintable()
    assert r"path=/\x1b[2J\x9b31m\n" in line


def test_lines_that_nobody_takes_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "QUEUE_LINES", 2)
    direct = logging.StreamHandler(io.StringIO())
    direct.setFormatter(structlog.stdlib.ProcessorFormatter(processors=logs._renderers(Settings(log_format="json"))))
    threaded = logs._Threaded(direct)
    for event in ("first", "second", "third", "fourth"):
        threaded.put({"event": event, "timestamp": 0.0})
    threaded.start()
    eventually(lambda: "second" in direct.stream.getvalue())
    threaded.put({"event": "last", "timestamp": 0.0})
    threaded.stop()
    written = [json.loads(line) for line in direct.stream.getvalue().splitlines()]
    assert [line["event"] for line in written] == ["first", "second", "log lines dropped", "last"]
    assert written[2]["lines"] == 2


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
