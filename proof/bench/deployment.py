"""The servers that are compared, each started as its users would, on the same Postgres and Valkey."""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import asyncpg
import psutil

from local.process import LocalError, free_port, spawn, terminate
from local.servers import Postgres, Valkey
from proof.bench.client import NONE
from proof.bench.servers import SERVERS, command
from proof.prove.client import ask
from proof.prove.own_service import ROOT, environment, migrate

START_TIMEOUT_S = 60.0
LINKS = 500

ITERATIONS_PER_MS = 25_000
"""Iterations of the CPU work, the same for ours and the textbook. Otherwise the service would measure the machine."""


@dataclass(frozen=True)
class Backends:
    postgres: Postgres
    valkey: Valkey

    def cpu_s(self) -> float:
        return cpu_s(psutil.Process(self.postgres.pid)) + cpu_s(psutil.Process(self.valkey.pid))


class Deployment:
    """A server of some workers that runs, and links that it knows."""

    headers: Mapping[str, str] = NONE
    """Headers of every request of a load."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", *, port: int, workers: int, log: Path) -> None:
        self.name = name
        self.url = f"http://127.0.0.1:{port}"
        self.codes = ["some-code"] * LINKS
        self._workers = workers
        self._process = process
        self._master = psutil.Process(process.pid)
        self._log = log

    def workers(self) -> list[psutil.Process]:
        """Without the process that multiprocessing starts beside its own, and with the only one that uvicorn has."""
        return [child for child in self._master.children() if _works(child)] or [self._master]

    def cpu_s(self) -> float:
        return cpu_s(self._master)

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def wait_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (len(self.workers()) == self._workers and self.answers()):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise LocalError(f"{self.name} did not start: {self._log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.01)

    def answers(self) -> bool:
        with suppress(OSError):
            return ask(self.url, "/r/nothing", timeout_s=2)[0] < 500
        return False

    def create_links(self) -> None:
        self.codes = [self._create(f"https://example.com/a/page/{number}") for number in range(LINKS)]

    def _create(self, url: str) -> str:
        status, body = ask(self.url, "/links", body=json.dumps({"url": url}).encode(), headers=self.headers)
        if status != 201:
            raise LocalError(f"{self.name} did not make a link: {status} {body.decode(errors='replace')}")
        return str(json.loads(body)["code"])


def _works(process: psutil.Process) -> bool:
    with suppress(psutil.Error):  # it has died, and nobody has waited for it yet
        return "resource_tracker" not in " ".join(process.cmdline())
    return False


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU time of a process and its children, by the kernel's accounting, which a busy machine hardly disturbs."""
    total = 0.0
    for member in [process, *process.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = member.cpu_times()
            total += times.user + times.system
    return total


@contextmanager
def backends() -> Iterator[Backends]:
    """Start the stores with their defaults: every commit is on the disk before it is answered."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
        home.chmod(0o755)  # as root, Postgres runs as another user
        postgres = stack.enter_context(Postgres(home / "postgres"))
        valkey = stack.enter_context(Valkey(home / "valkey"))
        asyncio.run(_create_database(postgres.complete_url, "textbook"))
        yield Backends(postgres, valkey)


@contextmanager
def deployment(
    name: str,
    backends: Backends,
    headers: Mapping[str, str] = NONE,
    project: Path = ROOT,
    /,
    *,
    workers: int = 1,
    **variables: str,
) -> Iterator[Deployment]:
    """Start a server. `project` is the folder whose `service` it serves."""
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        home, port, server = Path(folder), free_port(), SERVERS[name]
        home.chmod(0o755)  # nginx works as another user
        variables = _variables(backends, home, project, textbook=server.is_textbook) | {
            "WEB_CONCURRENCY": str(workers),
            "PORT": str(port),
            **server.variables,
            **variables,
        }
        if server.is_ours:
            _share_work(home)
            migrate(variables)
        with (home / "log").open("wb") as log:
            arguments = command(name, sys.executable, home=home, port=port, workers=workers)
            process = spawn(arguments, env=variables, cwd=project, stdout=log, stderr=log)
        try:
            started = Deployment(name, process, port=port, workers=workers, log=home / "log")
            started.headers = headers
            started.wait_ready()
            if server.has_links:
                started.create_links()
            yield started
        finally:
            terminate(process, within_s=40)


def _variables(backends: Backends, home: Path, project: Path, *, textbook: bool) -> dict[str, str]:
    """The textbook has a database of its own."""
    postgres, redis = backends.postgres.url, backends.valkey.url
    if textbook:
        postgres, redis = f"{postgres.rpartition('/')[0]}/textbook", f"{redis.rpartition('/')[0]}/1"
    return environment({"DATABASE_URL": postgres, "REDIS_URL": redis, "STATE_DIR": str(home / "state")}, home, project)


def _share_work(home: Path) -> None:
    calibration = home / "state" / "lab" / "iterations_per_ms"
    calibration.parent.mkdir(parents=True)
    calibration.write_text(str(ITERATIONS_PER_MS))


async def _create_database(url: str, name: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(f"CREATE DATABASE {name}")
    await connection.close()
