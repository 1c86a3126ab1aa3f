"""Bad hours of a server: reloads under open streams, a worker that hangs at its start, a broken release, slow clients."""

import asyncio
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psutil

from proof.bench.deployment import Deployment
from proof.chaos.held import Held
from proof.prove.own_service import ROOT

STREAMS = 25
"""WebSockets that are held, and as many event streams."""
SLOW_CLIENTS = 100
HALF_A_HEAD = b"GET /livez HTTP/1.1\r\nHost: bench\r\n"
HANG = """
import os, time
try:
    os.rename(f"{__file__}.hang", f"{__file__}.hung-{os.getpid()}")
except FileNotFoundError:
    pass
else:
    time.sleep(600)
"""
"""The first process that loads this while the file is there hangs, and leaves its number."""


@contextmanager
def release() -> Iterator[Path]:
    """A copy of the service, to be changed while it serves. Its next worker hangs if `hang_next` says so."""
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        project = Path(folder)
        shutil.copytree(ROOT / "service", project / "service", ignore=shutil.ignore_patterns("__pycache__"))
        with _main(project).open("a") as main:
            main.write(HANG)
        yield project


def _main(project: Path) -> Path:
    return project / "service" / "main.py"


async def streams_cut(server: Deployment, *, reloads: int, every_s: float) -> tuple[int, int] | None:
    """Return how many streams were cut without a word in the reloads, and how many ended. None if the server has no streams."""
    async with Held(server.url, server.codes, STREAMS) as held:
        if held.open < 2 * STREAMS:
            return None
        for _ in range(reloads):
            server.signal(signal.SIGHUP)
            await asyncio.sleep(every_s)
        return held.cut, held.cut + held.told


def hung_s(server: Deployment, project: Path, *, within_s: float) -> float | None:
    """Return the seconds from the death of a worker, whose successor hangs, to its full number of workers without that one."""
    _main(project).with_name("main.py.hang").touch()
    workers = server.workers()
    workers[0].kill()
    began, hung = time.monotonic(), None
    while time.monotonic() < began + within_s:
        hung = hung or next(iter(_main(project).parent.glob("main.py.hung-*")), None)
        if hung and not _lives(_pid(hung)) and len(server.workers()) == len(workers):
            return time.monotonic() - began
        time.sleep(0.05)
    if hung:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(_pid(hung)).kill()
    return None


def _pid(hung: Path) -> int:
    return int(hung.name.rpartition("-")[2])


def _lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def outlives_broken(server: Deployment, project: Path, *, after_s: float) -> bool:
    """Whether the service still answers some time after a release that does not start was put in its place and reloaded."""
    _main(project).write_text("raise RuntimeError('a broken release')\n")
    server.signal(signal.SIGHUP)
    time.sleep(after_s)
    return all(server.answers() for _ in range(20))


async def slow_held(server: Deployment, *, after_s: float) -> int:
    """Return how many of the clients that have sent half a head the server still waits for."""
    address = urlsplit(server.url)
    connections = [await asyncio.open_connection(address.hostname, address.port) for _ in range(SLOW_CLIENTS)]
    for _, writer in connections:
        writer.write(HALF_A_HEAD)
    _, held = await asyncio.wait([asyncio.create_task(reader.read()) for reader, _ in connections], timeout=after_s)
    for _, writer in connections:
        writer.close()
    await asyncio.gather(*held, return_exceptions=True)
    return len(held)
