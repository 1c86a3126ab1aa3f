"""A real Gunicorn with the worker class, around a small application: no database is needed to test how workers live."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from local.process import free_port, spawn

ROOT = Path(__file__).parents[3]

QUICK = {
    "WORKER_TIMEOUT_S": "2",
    "GRACEFUL_TIMEOUT_S": "6",
    "REQUEST_TIMEOUT_S": "3",
    "HEADER_TIMEOUT_S": "0.6",
    "BODY_TIMEOUT_S": "0.6",
}


class Gunicorn:
    def __init__(
        self,
        folder: Path,
        workers: int,
        *options: str,
        root: Path = ROOT,
        preexec_fn: Callable[[], None] | None = None,
        app: str = "app:app",
        **env: str,
    ) -> None:
        self.port = free_port()
        self.folder = folder
        self.mischief("")
        (folder / "events").touch()
        variables = {"MISCHIEF": str(folder / "mischief"), "EVENTS": str(folder / "events"), "PYTHONPATH": str(root)}
        variables |= {"PATH": os.environ["PATH"], "PORT": str(self.port), "WEB_CONCURRENCY": str(workers)} | QUICK | env
        with (folder / "log").open("wb") as log:
            self.process = spawn(
                [
                    sys.executable,
                    "-m",
                    "gunicorn",
                    "-c",
                    str(root / "brigade" / "server" / "gunicorn_conf.py"),
                    *options,
                    f"tests.brigade.server.{app}",
                ],
                env=variables,
                cwd=folder,
                stdout=log,
                stderr=log,
                preexec_fn=preexec_fn,
            )

    def mischief(self, kind: str) -> None:
        """What the next worker does in its start-up: nothing, hang, block, fail or crash."""
        (self.folder / "mischief").write_text(kind)

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def events(self, kind: str, *, before: str = "") -> list[int]:
        """The pids of the workers whose lifespan has `started` or `ended`, before another event if one is named."""
        lines = (self.folder / "events").read_text().splitlines()
        lines = lines[: lines.index(before)] if before else lines
        return [int(line.split()[1]) for line in lines if line.startswith(kind)]

    def worker_pids(self) -> set[int]:
        with suppress(psutil.NoSuchProcess):
            return {child.pid for child in psutil.Process(self.process.pid).children()}
        return set()

    def serving(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1) as probe:
            probe.sendall(b"GET / HTTP/1.0\r\n\r\n")
            return probe.recv(12) == b"HTTP/1.1 200"
        return False

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def reload(self) -> None:
        """Until the old workers have gone."""
        old = self.worker_pids()
        self.send(signal.SIGHUP)
        self.until(lambda: not old & self.worker_pids())

    def until(self, happened: Callable[[], bool], timeout_s: float = 20) -> None:
        deadline = time.monotonic() + timeout_s
        while not happened():
            assert time.monotonic() < deadline, f"it did not happen within {timeout_s} s:\n{self.log()}"
            time.sleep(0.05)

    def ended(self, timeout_s: float = 15) -> int:
        """Its exit status."""
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        """Also workers that a failed test has left without their master."""
        workers = [
            psutil.Process(pid) for pid in {*self.worker_pids(), *self.events("started")} if psutil.pid_exists(pid)
        ]
        self.process.kill()
        self.process.wait()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                if str(self.folder) in worker.environ().get("EVENTS", ""):
                    worker.kill()


@contextmanager
def one_worker(folder: Path, **env: Any) -> Iterator[Gunicorn]:
    """For all tests of a module, of which none may make it fail."""
    gunicorn = Gunicorn(folder, 1, **env)
    try:
        gunicorn.until(gunicorn.serving)
        yield gunicorn
        assert "Traceback" not in gunicorn.log()
    finally:
        gunicorn.kill()


Start = Callable[..., Gunicorn]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Gunicorns that end with the test. Keywords are variables, as the service reads them."""
    started: list[Gunicorn] = []

    def start(workers: int = 1, *options: str, ready: bool = True, **more: Any) -> Gunicorn:
        folder = tmp_path / str(len(started))
        folder.mkdir()
        gunicorn = Gunicorn(folder, workers, *options, **more)
        started.append(gunicorn)
        if ready:
            gunicorn.until(lambda: len(gunicorn.events("started")) >= workers and gunicorn.serving())
        return gunicorn

    yield start
    for gunicorn in started:
        gunicorn.kill()


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    """For requests that are on their way while the test does something else."""
    with ThreadPoolExecutor() as pool:
        yield pool
