"""The same service under several servers: how fast it is, and what becomes of requests when workers come and go."""

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import dataclass

import psutil

from proof.bench import cpu, trials
from proof.bench.connections import evenness, keep
from proof.bench.deployment import Backends, Deployment, deployment
from proof.bench.life import worker_mb
from proof.bench.routes import CONNECTIONS, Progress
from proof.bench.sample import Series, measure
from proof.chaos.traffic import Traffic

PEERS = ("ours", "stock uvicorn worker", "uvicorn", "Granian", "Gunicorn's ASGI worker")
ROUTES = {"redirect": "/r/{}", "trivial": "/livez"}
RELOADS, RELOAD_S = 3, 10.0
"""Reloads under traffic, and how long each may take before the next. Granian takes 3.5 s for each worker."""
PATIENCE_S = 20.0
"""How long nobody may answer before the table says that nobody ever does."""
TIMEOUT_S = "5"
"""WORKER_TIMEOUT_S for those that have one, so that a worker that stands still is missed within `PATIENCE_S`."""


SLOW_S = 2
"""HEADER_TIMEOUT_S for those that have one."""


@dataclass
class Peer:
    speed: dict[str, Series]
    pss_mib: float = 0.0
    unevenness: float = 0.0
    """The most of a hundred kept connections that any of four workers has, to the mean."""
    asked: int = 0
    lost: int = 0
    """How many of `asked` requests during the reloads were cut off or not reached."""
    beside_cpu_p99_ms: float = 0.0
    """The p99 of redirects while the CPU lane of the one worker is full of jobs."""
    killed_s: float | None = None
    frozen_s: float | None = None
    """Seconds until somebody answers again after all workers were killed, or stand still; None for never."""
    streams: tuple[int, int] | None = None
    """Streams that were cut in three reloads, of those that ended. None if it serves none."""
    hung_s: float | None = None
    """Seconds until a worker that hangs at its start is replaced; None for never."""
    outlives_broken: bool = False
    """Whether the old code still answers after a reload to code that does not start."""
    slow_held: int = 0
    """Clients with half a head, of a hundred, for which it waits longer than twice `SLOW_S`."""


def compare(backends: Backends, *, rounds: int, seconds: int, progress: Progress) -> dict[str, Peer]:
    peers = {name: Peer({route: Series() for route in ROUTES}) for name in PEERS}
    for number in range(rounds):
        for name in PEERS if number % 2 else reversed(PEERS):
            with deployment(name, backends, WORKER_TIMEOUT_S=TIMEOUT_S) as server:
                for route, pattern in ROUTES.items():
                    progress(f"{route}, {name}")
                    paths = [pattern.format(code) for code in server.codes]
                    measure(server, backends, paths, connections=CONNECTIONS, seconds=1)  # fills caches and pools
                    sample = measure(server, backends, paths, connections=CONNECTIONS, seconds=seconds)
                    peers[name].speed[route].samples.append(sample)
    for name, peer in peers.items():
        _live(name, peer, backends, seconds, progress)
    return peers


def _live(name: str, peer: Peer, backends: Backends, seconds: int, progress: Progress) -> None:
    """Let a server live through good and bad hours, each of which has a deadline of its own."""
    progress(f"kept connections and memory, {name}")
    with deployment(name, backends, workers=4, WORKER_TIMEOUT_S=TIMEOUT_S) as server:
        peer.unevenness = evenness(asyncio.run(keep(server, 0.001)))
        peer.pss_mib = worker_mb(server)
    progress(f"redirects beside CPU work, {name}")
    with deployment(name, backends, LAB_ENABLED="true") as server:
        peer.beside_cpu_p99_ms = cpu.both(server, 3 * seconds)[1].p99_ms
    progress(f"reloads, {name}")
    with deployment(name, backends, workers=2, LAB_ENABLED="true", WORKER_TIMEOUT_S=TIMEOUT_S) as server:
        peer.asked, peer.lost = asyncio.run(_reload(server))
    progress(f"slow clients and streams, {name}")
    with deployment(name, backends, workers=2, HEADER_TIMEOUT_S=f"{SLOW_S}") as server:
        peer.slow_held = asyncio.run(trials.slow_held(server, after_s=2 * SLOW_S))
        peer.streams = asyncio.run(trials.streams_cut(server, reloads=RELOADS, every_s=RELOAD_S))
    with trials.release() as project:
        progress(f"a worker that hangs at its start, {name}")
        with deployment(name, backends, {}, project, workers=2, WORKER_TIMEOUT_S=TIMEOUT_S) as server:
            peer.hung_s = trials.hung_s(server, project, within_s=PATIENCE_S)
        progress(f"a broken release, {name}")
        with deployment(name, backends, {}, project, workers=2, WORKER_TIMEOUT_S=TIMEOUT_S) as server:
            peer.outlives_broken = trials.outlives_broken(server, project, after_s=PATIENCE_S)
    progress(f"killed and frozen workers, {name}")
    with deployment(name, backends, workers=2, WORKER_TIMEOUT_S=TIMEOUT_S) as server:
        peer.killed_s = _recovered_s(server, signal.SIGKILL)
        peer.frozen_s = _recovered_s(server, signal.SIGSTOP)


async def _reload(server: Deployment) -> tuple[int, int]:
    """Return how many requests of visitors, on kept and on new connections, were sent in three reloads, and lost."""
    async with Traffic(server.url, server.codes) as traffic:
        traffic.asking.set()
        tally = traffic.begin()
        for _ in range(RELOADS):
            server.signal(signal.SIGHUP)
            await asyncio.sleep(RELOAD_S)
    await asyncio.to_thread(server.wait_ready)
    outcomes = tally.outcomes
    return tally.sent, outcomes["cut"] + outcomes["unreachable"] + outcomes["lost"] + outcomes["wrong"]


def _recovered_s(server: Deployment, how: signal.Signals) -> float | None:
    """Return the seconds until somebody answers after `how` was sent to every worker, and None if nobody does."""
    workers = server.workers()
    for worker in workers:
        worker.send_signal(how)
    began = time.monotonic()
    while time.monotonic() < began + PATIENCE_S:
        if server.answers():
            return time.monotonic() - began
        time.sleep(0.02)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.send_signal(signal.SIGCONT)
    return None
