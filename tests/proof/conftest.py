"""A service that only pretends, Locust as a process, and a real browser."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from local.process import free_port, spawn, terminate
from tests.browser import open_browser

ROOT = Path(__file__).parent.parent.parent
SCENARIOS = ROOT / "loadtests" / "scenarios"
SHOTS = Path(os.environ.get("SCREENSHOTS", ROOT / "reports" / "screenshots"))


class PretendedService(ThreadingHTTPServer):
    """Two workers; "a" answers three of four requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.numbers = count()
        self.names = True


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: PretendedService

    def do_GET(self) -> None:
        body = {"workers": [_state("host:a", 93.5), _state("host:b", 31.0)]} if self.path == "/workers" else {}
        text = json.dumps(body | {"plan": {}}).encode()
        self.send_response(200)
        if self.server.names and body == {}:
            self.send_header("X-Worker", "host:b" if next(self.server.numbers) % 4 == 3 else "host:a")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


def _state(worker: str, cpu_percent: float) -> dict[str, Any]:
    return {
        "id": worker,
        "in_flight": 3,
        "loop_lag_ms": {"p50": 0.4, "p99": 2.5, "max": 9.0},
        "cpu_percent": cpu_percent,
        "cpu_lane": {"running": 1, "waiting": 2, "threads": 1},
        "rss_mb": 88.4,
    }


@pytest.fixture
def pretended_service() -> Iterator[PretendedService]:
    with PretendedService() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class LocustUi:
    def __init__(self, url: str) -> None:
        self.url = url

    def stats(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.url}/stats/requests", timeout=5) as answer:
            return dict(json.load(answer))

    def rows(self) -> dict[str, dict[str, Any]]:
        """Of the tab "Workers", by their first cell."""
        (table,) = self.stats()["extended_stats"]
        assert table["key"] == "workers"
        return {row["worker"]: row for row in table["data"]}

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 40) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with suppress(OSError):
                if condition():
                    return
            time.sleep(0.2)
        raise AssertionError(f"not within {timeout_s:g} s; the tab shows {self.rows()}")


@pytest.fixture
def start_locust(tmp_path: Path) -> Iterator[Callable[..., LocustUi]]:
    """Locust with its web UI."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str | Path) -> LocustUi:
        port = str(free_port())
        command = [sys.executable, "-m", "locust", "--web-host", "127.0.0.1", "--web-port", port, *arguments]
        with (tmp_path / "locust.log").open("ab") as log:
            processes.append(spawn(command, cwd=ROOT, stdout=log, stderr=log))
        ui = LocustUi(f"http://127.0.0.1:{port}")
        ui.wait_until(lambda: bool(ui.stats()))
        return ui

    yield start
    for process in processes:
        terminate(process, within_s=15)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser
