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

ROOT = Path(__file__).parents[2]
LESSON = ROOT / "loadtests" / "locustfile.py"
SCENARIOS = ROOT / "loadtests" / "scenarios"
SHOTS = Path(os.environ.get("SCREENSHOTS", ROOT / "reports" / "screenshots"))
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class PretendedService(ThreadingHTTPServer):
    """Two workers; "a" answers three of four requests."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.numbers = count()
        self.names = True
        self.states = [pretended("host:a", cpu_percent=93.5), pretended("host:b", cpu_percent=31.0)]
        self.told = 0
        """Answers of `/workers`."""
        self.holds_next = False
        self.let_go = threading.Event()


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: PretendedService

    def do_GET(self) -> None:
        plan = {"cpus": {"value": 2}, "cpu_lane_threads": {"value": 1}}
        body = {"plan": plan, "workers": self.server.states} if self.path == "/workers" else {}
        if body and self.server.holds_next:
            self.server.holds_next = False
            self.server.let_go.wait(60)
        self.server.told += bool(body)
        text = json.dumps(body).encode()
        self.send_response(200)
        if self.server.names and not body:
            self.send_header("X-Worker", "host:b" if next(self.server.numbers) % 4 == 3 else "host:a")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None: ...


def pretended(worker: str, **more: Any) -> dict[str, Any]:
    return {
        "id": worker,
        "state": "serving",
        "stalled_ms": 0,
        "silent": False,
        "started_at": float(ord(worker[-1])),
        "in_flight": 3,
        "loop_lag_ms": {"p50": 0.4, "p99": 900.0, "max": 950.0, "last_second": 2.5},  # it was blocked some seconds ago
        "cpu_percent": 10.0,
        "cpu_lane": {"running": 1, "waiting": 2, "threads": 1},
        "rss_mb": 88.4,
        **more,
    }


@pytest.fixture
def pretended_service() -> Iterator[PretendedService]:
    with PretendedService() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.let_go.set()
        server.shutdown()


class LocustUi:
    def __init__(self, url: str, process: "subprocess.Popen[bytes]") -> None:
        self.url, self.process = url, process

    def get(self, path: str) -> Any:
        with NO_PROXY.open(f"{self.url}/{path}", timeout=5) as answer:
            return json.load(answer)

    def stats(self) -> dict[str, Any]:
        return dict(self.get("stats/requests"))

    def state(self) -> dict[str, Any]:
        """What the tab "Service" shows."""
        return dict(self.get("service/state"))

    def line(self) -> str:
        return str(self.state()["line"])

    def rows(self) -> dict[str, dict[str, Any]]:
        return {row["id"]: row for row in self.state()["workers"]}

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 40) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            with suppress(OSError):
                if condition():
                    return
            time.sleep(0.2)
        raise AssertionError(f"not within {timeout_s:g} s; the tab shows {self.state() | {'points': []}}")


StartLocust = Callable[..., LocustUi]


@pytest.fixture
def start_locust(tmp_path: Path) -> Iterator[StartLocust]:
    """Locust with its web UI, which keeps its rows in a folder of the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*arguments: str | Path, **variables: str) -> LocustUi:
        port = str(free_port())
        command = [sys.executable, "-m", "locust", "--web-host", "127.0.0.1", "--web-port", port, *arguments]
        env = os.environ | {"LOCUST_RUNS": str(tmp_path / "runs.jsonl"), **variables}
        with (tmp_path / "locust.log").open("ab") as log:
            started.append(spawn(command, cwd=ROOT, stdout=log, stderr=log, env=env))
        ui = LocustUi(f"http://127.0.0.1:{port}", started[-1])
        ui.wait_until(lambda: bool(ui.stats()))
        return ui

    yield start
    for process in started:
        terminate(process, within_s=15)


@pytest.fixture
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser
