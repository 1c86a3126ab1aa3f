"""The scenarios of streams, which a reload tells and does not cut, and of jobs, which a runner does."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from loadtests.streams import Cut, read_events, read_socket
from local.process import spawn, terminate
from tests.conftest import StartService
from tests.loadtests.conftest import LESSON, ROOT, StartLocust

LIVE = "/links/{code}/live"


def stats(ui_stats: dict[str, object]) -> dict[str, int]:
    entries: list[dict[str, object]] = ui_stats["stats"]  # type: ignore[assignment]
    return {f"{entry['method']} {entry['name']}": int(str(entry["num_requests"])) for entry in entries}


@pytest.mark.drives("links")
def test_a_reload_tells_streams_and_cuts_none(start_service: StartService, start_locust: StartLocust) -> None:
    service = start_service(1)
    ui = start_locust(
        *("-f", LESSON, "--scenario", "Streams", "--host", service.url, "--autostart", "-u", "20", "-r", "50")
    )

    def counts(what: str) -> list[int]:
        return [stats(ui.stats()).get(f"{kind} {LIVE} {what}", 0) for kind in ("WS", "SSE")]

    ui.wait_until(lambda: counts("open") == [10, 10])
    ui.wait_until(
        lambda: sum(row["streams"] for row in ui.rows().values()) == 20 and "20 streams are held" in ui.line()
    )
    ui.wait_until(lambda: all(counts("news")))
    os.kill(service.pid, signal.SIGHUP)
    ui.wait_until(lambda: counts("told") == counts("back") == [10, 10])
    assert counts("cut") == [0, 0]


def test_a_stream_that_ends_without_a_word_is_cut() -> None:
    """The server accepts, and closes each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_close_two, args=[server], daemon=True).start()
        for read in (read_socket, read_events):
            with pytest.raises(Cut):
                list(read(f"http://127.0.0.1:{server.getsockname()[1]}/live", {}))


def _close_two(server: socket.socket) -> None:
    for _ in range(2):
        server.accept()[0].close()


@pytest.fixture
def runner(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[None]:
    """A runner of jobs of the service."""
    env = {"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "REDIS_URL": redis_url, "PYTHONPATH": str(ROOT)}
    with (tmp_path / "runner.log").open("wb") as log:
        more = {"STATE_DIR": str(tmp_path / "state")}
        process = spawn([sys.executable, "-m", "service", "work"], cwd=tmp_path, env=env | more, stdout=log, stderr=log)
    yield
    terminate(process, within_s=15)


@pytest.mark.drives("sheets")
def test_sheets_are_ordered_watched_and_fetched(start_service: StartService, runner: None, tmp_path: Path) -> None:
    locustfile = tmp_path / "few.py"
    locustfile.write_text(
        "from loadtests.scenarios.jobs import OrderingSheets, Ping\nclass Few(OrderingSheets):\n    codes = 5\n"
        "OrderingSheets.abstract = True\n"
    )
    command = [sys.executable, "-m", "locust", "-f", str(locustfile), "--host", start_service(1).url, "--headless"]
    more = ["-u", "3", "-r", "10", "--run-time", "8", "--stop-timeout", "1", "--json-file", str(tmp_path / "run")]
    done = subprocess.run([*command, *more], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    entries = {entry["name"]: entry["num_requests"] for entry in json.loads((tmp_path / "run.json").read_text())}
    assert {"/sheets", "/sheets/{id}", "/sheets/{id}/file", "ordered to done", "ping"} <= entries.keys()
