"""The memory of a worker, and the time it takes to start."""

import signal
import time
from statistics import median

from proof.bench.deployment import Backends, Deployment, deployment
from proof.bench.generator import saturate
from proof.bench.routes import Progress

MIB = 2**20


def memory_mb(backends: Backends, *, workers: int, progress: Progress) -> dict[str, float]:
    found = {}
    for name in ("ours", "textbook"):
        progress(f"memory of {workers} workers, {name}")
        with deployment(name, backends, workers=workers) as server:
            found[name] = worker_mb(server)
    return found


def worker_mb(server: Deployment) -> float:
    """Return the proportional set size of a worker that has worked: a page that n processes share is 1/n of a page."""
    saturate(server.url, [f"/r/{code}" for code in server.codes], connections=64, seconds=3)
    return median(worker.memory_full_info().pss / MIB for worker in server.workers())


def restart_s(backends: Backends, *, rounds: int, progress: Progress) -> dict[str, float]:
    """Return the seconds from kill -9 of the only worker to the first answer of the next, once for each start.

    Ours waits before it starts one worker more after several that died young.
    """
    found = {}
    for name in ("ours", "textbook"):
        progress(f"start of a worker, {name}")
        found[name] = median(_restart_s(name, backends) for _ in range(rounds))
    return found


def _restart_s(name: str, backends: Backends) -> float:
    with deployment(name, backends) as server:
        time.sleep(0.5)
        worker = server.workers()[0]
        worker.send_signal(signal.SIGKILL)
        began = time.monotonic()
        worker.wait(5)
        server.wait_ready()
        return time.monotonic() - began
