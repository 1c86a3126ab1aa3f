"""The files that workers count in: their one answer to a scrape, and what becomes of a dead worker's.

Needs no event loop. The master imports this, so it must not import the application.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from brigade.sizing.limits import read_throttling

__all__ = ["CONTENT_TYPE_LATEST", "count_exit", "fold", "folder", "scrape", "wipe"]

FOLD_WITHIN_S = 1.0
"""For scrapes to end, which take some 10 ms each; the master waits no longer, and folds at the next death."""
DEAD = "dead"

_exits = Counter("worker_exits", "Workers that ended, by how.", ["cause"], registry=None)


def folder() -> Path | None:
    """None in a process that Gunicorn did not start."""
    path = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(path) if path else None


def wipe() -> None:
    if path := folder():
        path.mkdir(parents=True, exist_ok=True)
        for file in path.glob("*.db"):
            file.unlink()
    for cause in ("told", "max requests", "timeout", "failed start", "died"):
        _exits.labels(cause)


def count_exit(cause: str) -> None:
    _exits.labels(cause).inc()


def scrape() -> bytes:
    """Every worker's metrics, the dead included, as they stand now: a file is read whole or not at all."""
    registry = CollectorRegistry()
    registry.register(_Machine())
    if path := folder():
        with _locked(path, fcntl.LOCK_SH):
            MultiProcessCollector(registry, path=str(path))
            return generate_latest(registry)
    return generate_latest(registry)


def fold(*, living: set[int]) -> None:
    """Add what dead workers have counted to the file of all the dead, so that neither a counter nor the folder changes
    by their death; what they were, their gauges, goes.
    """
    path = folder()
    if path is None:
        return
    owners = {str(pid) for pid in living} | {DEAD}
    left = [file for file in path.glob("*.db") if file.stem.rpartition("_")[2] not in owners]
    for pid in {file.stem.rpartition("_")[2] for file in left}:
        mark_process_dead(pid, str(path))
    with _locked(path, fcntl.LOCK_EX, within_s=FOLD_WITHIN_S):
        for file in left:
            if file.exists():
                _add(file, path / f"{file.stem.partition('_')[0]}_{DEAD}.db")
                file.unlink()


def _add(file: Path, sum_file: Path) -> None:
    total = MmapedDict(str(sum_file))
    for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
        total.write_value(key, total.read_value(key)[0] + value, 0.0)
    total.close()


@contextmanager
def _locked(path: Path, kind: int, *, within_s: float | None = None) -> Iterator[None]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        deadline = time.monotonic() + (within_s or 0)
        while True:
            try:
                fcntl.flock(descriptor, kind if within_s is None else kind | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


class _Machine:
    """What the kernel counts for all workers together, looked up when somebody asks."""

    def collect(self) -> Iterator[Metric]:
        periods, throttled, seconds = read_throttling()
        yield CounterMetricFamily("cgroup_cpu_periods", "Periods in which the cgroup ran.", periods)
        yield CounterMetricFamily("cgroup_cpu_throttled_periods", "Of these, with its CPU quota spent.", throttled)
        yield CounterMetricFamily("cgroup_cpu_throttled_seconds", "Time stood still so, of all threads.", seconds)
