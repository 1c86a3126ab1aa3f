"""A worker knows of a process that it has met. Of others, as in containers that share a name, it knows their writes."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from brigade.ops import neighbours
from brigade.ops.neighbours import Neighbours
from brigade.ops.workers import WorkerState

LAG = {"p50": 0, "p99": 0, "max": 0}
LANE, POOL = {"running": 0, "waiting": 0, "threads": 1}, {"in_use": 0, "idle": 0, "max": 1}


def written_by(pid: int) -> WorkerState:
    counts: dict[str, Any] = dict.fromkeys(["stalled_ms", "requests_total", "in_flight", "connections", "rss_mb"], 0)
    more = {"loop_lag_ms": LAG, "cpu_lane": LANE, "db_pool": POOL, "cpu_percent": 0, "started_at": time.time()}
    return WorkerState(id=f"here:{pid}", host="here", pid=pid, state="serving", **counts, **more)


@pytest.fixture
def process() -> Iterator[psutil.Popen]:
    with psutil.Popen(["sleep", "60"], stdin=subprocess.DEVNULL) as process:
        yield process
        with suppress(psutil.NoSuchProcess):
            process.kill()


def test_a_process_that_was_met_is_told_by_the_system(process: psutil.Popen) -> None:
    others, worker = Neighbours("here:1", "here"), written_by(process.pid)
    assert others.judge(worker, b"1") is worker
    process.suspend()
    while process.status() != psutil.STATUS_STOPPED:
        pass
    stopped = others.judge(worker, b"1")
    assert stopped is not None
    assert (stopped.state, stopped.silent) == ("frozen", True)
    process.kill()
    process.wait()
    assert others.judge(worker, b"1") is None
    assert others.judge(worker.model_copy(update={"host": "elsewhere"}), b"1") is not None


def test_a_process_that_was_never_met_has_ended_once_it_no_longer_writes(
    process: psutil.Popen, monkeypatch: pytest.MonkeyPatch
) -> None:
    others, worker = Neighbours("here:1", "here"), written_by(process.pid)
    process.kill()
    process.wait()
    assert others.judge(worker, b"1") is worker
    monkeypatch.setattr(neighbours, "SILENT_S", 0)
    assert others.judge(worker, b"1") is None
