"""`--route` against ten routes of ten kinds, each of which it has to recognise, and against a deployment."""

import json
import os
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from proof.prove.route.cpu import CpuUse
from proof.prove.route.measured import Findings, Measured
from proof.prove.route.probe import Seen, ServiceProbe
from proof.prove.route.route import Route
from proof.prove.route.verdict import judge
from proof.prove.small_project import write_project
from proof.prove.stage import Deployment
from proof.prove.window import Percentiles, Sample
from tests.conftest import StartService
from tests.proof.conftest import ROOT
from tests.proof.ten_kinds import FEATURE

KINDS = {
    "/awaiting": "waits",
    "/blocking": "blocks the loop",
    "/on-loop": "computes on the loop",
    "/in-threadpool": "computes in the thread pool",
    "/in-lane": "computes in the CPU lane",
    "/in-process": "computes in a process",
    "/pool": "bound by the Postgres pool",
    "/lock": "waits its turn",
    "/many-queries": "asks Postgres again and again",
    "/upstream": "waits for an upstream",
}


class Slow(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        time.sleep(0.1)


@pytest.fixture
def upstream() -> Iterator[int]:
    """The port of a server that answers after a while."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Slow) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def prove_routes(folder: Path, *arguments: str) -> tuple[str, dict[str, Any]]:
    command = [sys.executable, "-m", "proof.prove", "--quick", "--out", str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout, json.loads((folder / "routes.json").read_text())


@pytest.mark.timeout(180)
def test_route_of_each_kind_is_recognised(tmp_path: Path, upstream: int) -> None:
    write_project(tmp_path, FEATURE)
    variables = {"DB_CONNECTION_BUDGET": "8", "UPSTREAM_PORT": str(upstream)}
    options = [option for name, value in variables.items() for option in ("--set", f"{name}={value}")]
    routes = [option for path in KINDS for option in ("--route", f"GET {path}")]
    said, found = prove_routes(
        tmp_path / "reports", "--project", str(tmp_path), "--workers", "1", "--seconds", "0.6", *options, *routes
    )
    kinds = {path: found[f"GET {path}"]["kind"] for path in KINDS}
    told = {path: kind for path, kind in kinds.items() if kind != "cannot be told"}  # as on a machine that was too busy
    assert told == {path: KINDS[path] for path in told}, said
    assert told.keys() >= {"/blocking", "/many-queries"}, said  # which the watchdog and Postgres tell, on any machine
    assert len(told) >= 7, said
    line = 1 + next(number for number, text in enumerate(FEATURE.splitlines()) if "the line at fault" in text)
    evidence = {
        "/blocking": f"small/features/only/__init__.py:{line} in blocking",
        "/upstream": f"127.0.0.1:{upstream}",
        "/pool": "4 connections",
    }
    for path in evidence.keys() & told.keys():
        assert evidence[path] in found[f"GET {path}"]["says"]


def test_route_of_a_deployment_is_measured_as_it_is_and_the_next_run_shows_the_difference(
    start_service: StartService, tmp_path: Path
) -> None:
    service = start_service(1, API_KEYS="test:secret")
    host = ("--host", service.url, "--seconds", "0.5")
    said, found = prove_routes(tmp_path, *host, "--route", "GET /notes")
    assert "the deployment wants a key" in found["GET /notes"]["says"], said
    blocking = "GET /lab/sleep/blocking?ms=150"
    said, found = prove_routes(tmp_path, *host, "--key", "secret", "--route", "GET /notes", "--route", blocking)
    assert found["GET /notes"]["kind"] != "cannot be told", said
    assert "Before, " in said
    assert found[blocking]["kind"] == "blocks the loop"
    assert "at brigade/lab/routes.py:" in found[blocking]["says"]


def _elsewhere(users: int, rate: float, *, cpu_percent: float, running: int, ping_ms: float) -> Measured:
    """Figures of a worker on another machine, whose threads cannot be looked at."""
    state = {"cpu_percent": cpu_percent, "cpu_lane": {"running": running}, "db_pool": {"in_use": 0, "max": 4}}
    sample = Sample(
        "w",
        workers=1,
        seconds=1,
        done=round(rate),
        statuses={"200": round(rate)},
        latency_ms=Percentiles(50, 60, 70),
        ping_ms=Percentiles(ping_ms, ping_ms, ping_ms),
    )
    return Measured(users, 1, Seen(workers=[state] * 3), [sample])


@pytest.mark.parametrize(
    ("running", "ping_ms", "kind"),
    [(1, 2, "computes in the CPU lane"), (0, 2, "computes in the thread pool"), (0, 200, "computes on the loop")],
)
def test_route_of_another_machine_is_judged_by_what_workers_say(running: int, ping_ms: float, kind: str) -> None:
    quiet = _elsewhere(1, 0, cpu_percent=3, running=0, ping_ms=1)
    alone = _elsewhere(1, 20, cpu_percent=98, running=running, ping_ms=ping_ms / 4)
    company = _elsewhere(8, 20, cpu_percent=99, running=running, ping_ms=ping_ms)
    assert judge(Route("GET", "/"), Findings(quiet, alone, {1: company})).kind == kind


@pytest.mark.parametrize(("starved", "kind"), [(0.1, "waits its turn"), (1.5, "cannot be told")])
def test_route_on_a_machine_that_had_no_time_is_not_taken_for_a_lock(starved: float, kind: str) -> None:
    quiet = _elsewhere(1, 0, cpu_percent=3, running=0, ping_ms=1)
    alone = _elsewhere(1, 20, cpu_percent=3, running=0, ping_ms=1)
    company = _elsewhere(45, 10, cpu_percent=3, running=0, ping_ms=2)
    company.samples[0] = replace(company.samples[0], starved_cores=starved)
    assert judge(Route("GET", "/"), Findings(quiet, alone, {1: company})).kind == kind


@pytest.mark.parametrize(("wanted_s", "kind"), [(0.2, "waits its turn"), (2.8, "cannot be told")])
def test_a_lock_is_told_on_a_busy_machine_where_the_loop_was_idle(wanted_s: float, kind: str) -> None:
    cpu = CpuUse(loop=0.05, loop_starved=wanted_s)
    alone = _here(1, 8, 100, starved=1.5)
    company = _here(8, 5, 800, cpu=cpu, starved=1.5)
    company.samples = company.samples[:1] * 3
    assert judge(Route("GET", "/"), Findings(_here(1, 0, 0), alone, {1: company})).kind == kind


def _here(users: int, done: int, latency_ms: float, *, cpu: CpuUse | None = None, starved: float = 0.0) -> Measured:
    """Figures of a worker on this machine, of a window with answers and of two without any."""
    answered = Sample(
        "w",
        workers=1,
        seconds=1,
        done=done,
        statuses={"200": done},
        latency_ms=Percentiles(latency_ms),
        ping_ms=Percentiles(2),
        starved_cores=starved,
    )
    without = Sample("w", workers=1, seconds=0.001, starved_cores=starved)
    return Measured(users, 1, Seen(cpu=cpu or CpuUse(), is_local=True), [answered, without, without])


def test_a_window_without_an_answer_does_not_make_the_others_quicker() -> None:
    alone = _here(1, 16, 60)
    assert (alone.took_ms, alone.ping_ms) == (60, 2)
    assert _here(1, 0, 0).took_ms == 0


@pytest.mark.parametrize(("starved", "kind"), [(1.5, "cannot be told"), (0.0, "waits")])
def test_cpu_time_on_a_busy_machine_is_not_called_waiting(starved: float, kind: str) -> None:
    cpu = CpuUse(loop=0.01, threads=0.06, loop_starved=0.1, threads_starved=0.2)
    alone = _here(1, 3, 390, cpu=cpu, starved=starved)
    company = _here(8, 20, 390, cpu=cpu, starved=starved)
    company.samples = company.samples[:1]
    verdict = judge(Route("GET", "/"), Findings(_here(1, 0, 0), alone, {1: company}))
    assert verdict.kind == kind, verdict


@dataclass
class _Busy(Deployment):
    """A service whose /workers is answered once, and then late or with a problem: its one worker is this process."""

    late_s: float
    own = True
    asked: int = 0

    def url(self, workers: int) -> str:  # noqa: ARG002
        return "http://127.0.0.1:9"

    def state(self, workers: int) -> dict[str, Any]:  # noqa: ARG002
        self.asked += 1
        if self.asked == 1:
            return {"workers": [{"host": socket.gethostname(), "pid": os.getpid()}]}
        time.sleep(self.late_s)
        return {"title": "Too busy"}


@pytest.mark.parametrize("late_s", [0.0, 5.0])
def test_an_upstream_is_seen_though_workers_is_answered_late_or_not(upstream: int, late_s: float) -> None:
    probe = ServiceProbe(_Busy(late_s), 1)
    probe.begin()
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", upstream)) as connection:
            connection.recv(1)
        if f"127.0.0.1:{upstream}" in probe.seen.peers:
            break
    probe.end()
    assert f"127.0.0.1:{upstream}" in probe.seen.peers
