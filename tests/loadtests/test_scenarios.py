"""Every scenario runs against a real service, headless, and its verdict is Locust's exit code."""

import json
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from brigade.testing import RunningService
from tests.conftest import StartService
from tests.loadtests.conftest import LESSON, ROOT, SCENARIOS

QUICKLY = ["--headless", "--users", "8", "--spawn-rate", "50", "--run-time", "3", "--stop-timeout", "5"]
LEAVING = """
from locust import LoadTestShape
from loadtests.scenarios.awaiting import Awaiting
class Leaving(LoadTestShape):
    def tick(self):
        now_s = self.get_run_time()
        return None if now_s > 7 else (100, 100) if now_s < 3 else (0, 100)
"""


def run_locust(host: str, *arguments: str | Path, files: str = "links.py") -> subprocess.CompletedProcess[str]:
    paths = ",".join(str(SCENARIOS / name) for name in files.split(","))
    command = [sys.executable, "-m", "locust", "-f", paths, "--host", host, *QUICKLY, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=90, check=False)


@pytest.mark.parametrize(
    ("files", "asked"),
    [
        ("awaiting.py", {"/lab/sleep/awaited"}),
        ("blocking.py", {"/lab/sleep/blocking", "ping"}),
        ("cpu.py", {"/lab/cpu/in-lane", "/lab/cpu/on-loop", "ping"}),
        ("drawing.py", {"/links/{code}/qr", "/links", "ping"}),
        ("notes.py", {"/notes", "/notes/{id}", "ping"}),
        ("arriving.py", {"/lab/sleep/awaited", "ping"}),
        ("connections.py", {"/livez"}),
        ("links.py", {"/r/{code}", "/links"}),
        ("connections.py,shapes/steps.py", {"/livez"}),
        ("connections.py,shapes/spike.py", {"/livez"}),
        ("connections.py,shapes/soak.py", {"/livez"}),
    ],
)
def test_scenario_succeeds_against_a_real_service(
    shared_service: RunningService, tmp_path: Path, files: str, asked: set[str]
) -> None:
    done = run_locust(shared_service.url, "--ms", "20", "--json-file", tmp_path / "run", files=files)
    assert done.returncode == 0, done.stdout + done.stderr
    entries = json.loads((tmp_path / "run.json").read_text())
    assert asked <= {entry["name"] for entry in entries}
    assert sum(entry["num_failures"] for entry in entries) == 0


def test_lesson_runs_each_scenario_alone_with_a_ping(shared_service: RunningService, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "locust",
        "-f",
        str(LESSON),
        "--host",
        shared_service.url,
        "--headless",
        "--stage-s",
        "4",
    ]
    report = ["--json-file", str(tmp_path / "run"), "--stop-timeout", "5"]
    done = subprocess.run([*command, *report], cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    entries = {entry["name"]: entry["num_requests"] for entry in json.loads((tmp_path / "run.json").read_text())}
    cpu = [f"/lab/cpu/{place}" for place in ("on-loop", "in-threadpool", "in-lane")]
    assert {"/lab/sleep/awaited", "/lab/sleep/blocking", *cpu, "/r/{code}", "ping"} <= entries.keys()
    assert entries["/lab/sleep/awaited"] > 2 * entries["/lab/sleep/blocking"]
    assert not entries.keys() & {"/lab/cpu/in-process", "/livez"}


def test_links_are_made_of_the_urls_of_a_file(shared_service: RunningService, tmp_path: Path) -> None:
    urls = tmp_path / "urls.txt"
    urls.write_text("ftp://ftp.gnu.org/refused\nhttps://www.gnu.org/software/bash/\n")
    done = run_locust(shared_service.url, "--urls", urls, "--links-each", "1")
    assert done.returncode == 0, done.stdout + done.stderr


def test_links_are_made_with_a_key_where_one_is_asked_for(start_service: StartService) -> None:
    service = start_service(1, API_KEYS="test:secret")
    assert run_locust(service.url, "--api-key", "secret").returncode == 0
    assert run_locust(service.url).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--max-tail-ms", "0.001"], "The p99 is"),
        (["--min-rate", "1000000"], "requests a second were done"),
    ],
)
def test_threshold_that_is_missed_sets_the_exit_code(
    shared_service: RunningService, arguments: list[str], sentence: str
) -> None:
    done = run_locust(shared_service.url, *arguments, files="connections.py")
    assert done.returncode == 1
    assert sentence in done.stderr


def test_threshold_of_failures_counts_a_service_that_is_away() -> None:
    done = run_locust("http://127.0.0.1:9", files="connections.py")
    assert done.returncode == 1
    assert "100.0% of the requests failed" in done.stderr


def test_users_who_leave_take_their_connections_with_them(start_service: StartService, tmp_path: Path) -> None:
    """Workers take new connections in turn by how many each has, so those of the stage before must not count."""
    service = start_service(1)
    (tmp_path / "leaving.py").write_text(LEAVING)
    command = [sys.executable, "-m", "locust", "-f", str(tmp_path / "leaving.py"), "--host", service.url, "--headless"]
    held: list[int] = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as locust:
        while locust.poll() is None:
            held.append(httpx.get(f"{service.url}/workers", trust_env=False).json()["workers"][0]["connections"])
            time.sleep(0.2)
    most = held.index(max(held))
    assert held[most] >= 90
    assert min(held[most:-5]) <= 5, held
