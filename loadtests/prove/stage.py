"""The servers of a proof: one Postgres, one Valkey, and a service for each number of workers, all up at the same time.

So windows can alternate between them, and no restart lies between the two sides of a ratio.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from loadtests.prove.client import is_ready, read_workers
from local.process import LocalError, free_port, spawn, terminate
from local.servers import Postgres, Valkey

ROOT = Path(__file__).resolve().parent.parent.parent
READY_TIMEOUT_S = 60.0
# The proof is not about the disk.
FAST = {"fsync": "off", "full_page_writes": "off"}


class Stage(Protocol):
    """Where the windows are measured."""

    own: bool

    def url(self, workers: int) -> str: ...


class Deployment:
    """One that runs already: it has the workers it has."""

    own = False

    def __init__(self, host: str) -> None:
        self._url = host.rstrip("/")
        try:
            read_workers(self._url)
        except (OSError, ValueError) as error:
            raise LocalError(f"{host} does not tell about its workers, at /workers: {error}") from None

    def url(self, workers: int) -> str:  # noqa: ARG002
        return self._url


class OwnServices:
    own = True

    def __init__(self, urls: Mapping[int, str]) -> None:
        self._urls = urls

    def url(self, workers: int) -> str:
        return self._urls[workers]


@contextmanager
def own_services(counts: Iterable[int]) -> Iterator[OwnServices]:
    counts = sorted(set(counts))
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="proof-", ignore_cleanup_errors=True)))
        home.chmod(0o755)  # as root, Postgres runs as another user
        postgres = stack.enter_context(Postgres(home / "postgres", settings=FAST))
        valkey = stack.enter_context(Valkey(home / "valkey"))
        shared = {"DATABASE_URL": postgres.url, "REPLICAS": str(len(counts))}
        _migrate(shared | {"REDIS_URL": valkey.url}, home)
        services: dict[int, _Service] = {}
        for number, workers in enumerate(counts):
            redis = f"{valkey.url.rpartition('/')[0]}/{number}"  # /workers lists what shares a Redis database
            folder = home / f"service-{workers}"
            if number:
                _same_work(services[counts[0]], folder)
            services[workers] = _start(stack, workers, shared | {"REDIS_URL": redis}, folder)
        for service in services.values():
            service.wait_until_ready()
        yield OwnServices({workers: service.url for workers, service in services.items()})


def _same_work(first: "_Service", folder: Path) -> None:
    """The lab measures once how much work a millisecond is. All services must mean the same by it."""
    first.wait_until_ready()
    shutil.copytree(first.home / "state" / "lab", folder / "state" / "lab")


def _environment(variables: dict[str, str], home: Path) -> dict[str, str]:
    """Nothing of this terminal's: no `.env` and no variable changes what is proved."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), **variables}


def _migrate(variables: dict[str, str], home: Path) -> None:
    command = [sys.executable, "-m", "service", "migrate"]
    done = subprocess.run(
        command, env=_environment(variables, home), cwd=home, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise LocalError(f"The schema could not be made: {done.stderr.strip().splitlines()[-1]}")


@dataclass(frozen=True)
class _Service:
    process: subprocess.Popen[bytes]
    url: str
    home: Path

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not is_ready(self.url):
            if self.process.poll() is not None or time.monotonic() > deadline:
                said = (self.home / "log").read_text(errors="replace")
                raise LocalError(f"The service did not become ready: {said[-2000:]}")
            time.sleep(0.05)


def _start(stack: ExitStack, workers: int, variables: dict[str, str], home: Path) -> _Service:
    home.mkdir(exist_ok=True)
    port = free_port()
    switches = {
        "WEB_CONCURRENCY": str(workers),
        "PORT": str(port),
        "LAB_ENABLED": "1",
        "EXPOSE_WORKER": "1",
        "STATE_DIR": str(home / "state"),
    }
    with (home / "log").open("wb") as log:
        process = spawn(
            [sys.executable, "-m", "service", "run"],
            env=_environment(variables | switches, home),
            cwd=home,
            stdout=log,
            stderr=log,
        )
    stack.callback(terminate, process, within_s=40)
    return _Service(process, f"http://127.0.0.1:{port}", home)
