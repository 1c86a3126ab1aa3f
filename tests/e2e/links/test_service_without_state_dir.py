"""A whole service whose STATE_DIR is full or cannot be used: it starts, answers, counts, and says so in a few lines."""

import os
import shutil
import signal
import time
from contextlib import nullcontext
from pathlib import Path

import httpx
import pytest

from proof.chaos.disk import read_only, small_disk, why_no_disk
from tests.brigade.ops.test_ops import eventually
from tests.conftest import StartService
from tests.running import RunningService

pytestmark = pytest.mark.drives("links")


def make_link(service: RunningService) -> None:
    answer = httpx.post(f"{service.url}/links", json={"url": "http://example.com/", "code": "link"})
    assert answer.status_code == 201


def clicks_of(service: RunningService) -> int:
    return int(httpx.get(f"{service.url}/links/link").json()["clicks"])


def follow(service: RunningService, *, for_s: float) -> int:
    """Follow the link again and again. Return how often it was answered."""
    until_s, answered = time.monotonic() + for_s, 0
    with httpx.Client(base_url=service.url) as client:
        while time.monotonic() < until_s:
            assert client.get("/r/link").status_code == 307
            answered += 1
            time.sleep(0.005)
    return answered


def said(service: RunningService) -> list[str]:
    return [line for line in service.log().splitlines() if '"event":"request"' not in line]


@pytest.mark.skipif(bool(why_no_disk()), reason=why_no_disk())
def test_a_full_disk_stops_no_redirect_no_count_and_no_worker(start_service: StartService, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small", size_mib=2) as disk:
        state = disk.folder / "state"
        service = start_service(workers=2, STATE_DIR=state)
        make_link(service)
        workers = service.worker_pids()
        disk.fill()
        before = len(said(service))
        answered = follow(service, for_s=3)
        assert len(said(service)) - before <= 2 * 3
        assert len(list((state / "clicks").rglob("*"))) <= 20
        assert service.worker_pids() == workers
        eventually(lambda: clicks_of(service) == answered, within_s=10)
        os.kill(workers[0], signal.SIGKILL)
        assert_replaced(service, workers)
        answered += follow(service, for_s=1)
        disk.free()
        answered += follow(service, for_s=1)
        eventually(lambda: clicks_of(service) == answered, within_s=10)
        service.stop()


def assert_replaced(service: RunningService, workers: list[int]) -> None:
    """One worker is new, the other is not, and the new one serves."""
    eventually(lambda: len(set(service.worker_pids()) - set(workers)) == 1, within_s=10)
    (new,) = set(service.worker_pids()) - set(workers)
    eventually(lambda: any(worker["pid"] == new for worker in httpx.get(f"{service.url}/workers").json()["workers"]))
    assert service.worker_pids() == sorted({new, workers[1]})
    assert httpx.get(f"{service.url}/metrics").is_success


@pytest.mark.skipif(bool(why_no_disk()), reason=why_no_disk())
@pytest.mark.parametrize("becomes", ["read-only", "deleted"])
def test_a_worker_is_replaced_while_the_folder_of_its_state_is(
    start_service: StartService, tmp_path: Path, becomes: str
) -> None:
    state = tmp_path / "state"
    service = start_service(workers=2, STATE_DIR=state)
    make_link(service)
    workers = service.worker_pids()
    if becomes == "deleted":
        shutil.rmtree(state)
    with read_only(state) if becomes == "read-only" else nullcontext():
        os.kill(workers[0], signal.SIGKILL)
        assert_replaced(service, workers)
        answered = follow(service, for_s=1)
        eventually(lambda: clicks_of(service) == answered, within_s=10)
    answered += follow(service, for_s=0.5)
    eventually(lambda: clicks_of(service) == answered, within_s=10)
    service.stop()


@pytest.mark.parametrize("obstacle", ["a file in its place", "a file system that makes no folders"])
def test_a_service_starts_without_a_folder_for_its_state(
    start_service: StartService, tmp_path: Path, obstacle: str
) -> None:
    (tmp_path / "file").touch()
    state = tmp_path / "file" / "state" if obstacle == "a file in its place" else Path("/sys/kernel/state")
    service = start_service(workers=1, STATE_DIR=state)
    make_link(service)
    answered = follow(service, for_s=1)
    eventually(lambda: clicks_of(service) == answered, within_s=10)
    assert 1 <= sum("STATE_DIR" in line for line in said(service)) <= 3
    assert httpx.get(f"{service.url}/metrics").is_success
