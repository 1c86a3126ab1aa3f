"""The files that workers count in: the one answer to a scrape, and what becomes of a dead worker's files.

Needs no event loop. The master imports this, so it must not import the application.
"""

import fcntl
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4 as CONTENT_TYPE
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from brigade.sizing.limits import read_throttling
from brigade.telemetry.metric_files import begin, folder, open_sum

__all__ = ["CONTENT_TYPE", "count_exit", "fold", "folder", "prepare", "scrape"]

FOLD_WITHIN_S = 1.0
"""Seconds that the master waits for scrapes to end, which take some 10 ms each, before it leaves files to the next death."""
DEAD = "dead"
KINDS = {"counter", "gauge", "histogram", "summary"}

_exits = Counter("worker_exits", "Workers that ended, by how.", ["cause"], registry=None)
_reported: set[Path] = set()
log = logging.getLogger("gunicorn.error")


def prepare(*, keep: bool) -> None:
    """Begin to count, from nothing unless the workers of another master still count here."""
    if path := folder():
        if not keep:
            for entry in path.glob("*.db"):
                _remove(entry)
        begin()
    for cause in ("told", "max requests", "timeout", "failed start", "died"):
        _exits.labels(cause)


def count_exit(cause: str) -> None:
    _exits.labels(cause).inc()


def scrape() -> bytes:
    """Every worker's metrics as they stand now, the dead ones' included: a file counts as a whole or not at all."""
    path = folder()
    if path is None or not path.is_dir():  # somebody has deleted it
        return _render([])
    with _locked(path, fcntl.LOCK_SH):
        files = _files(path)
        try:
            return _render(files)
        except Exception:  # noqa: BLE001 - each kind of damage raises something else
            return _render([file for file in files if _is_readable(file)])


def _files(path: Path) -> list[Path]:
    """Return the files of prometheus_client, which counts a file of another name as of the kind that it read before."""
    return [file for file in path.glob("*.db") if file.name.partition("_")[0] in KINDS]


def _render(files: list[Path]) -> bytes:
    registry = CollectorRegistry()
    registry.register(_Machine())
    registry.register(_Files(files))
    return generate_latest(registry)


class _Files:
    def __init__(self, files: list[Path]) -> None:
        self._names = [str(file) for file in files]

    def collect(self) -> Iterable[Metric]:
        merged: Iterable[Metric] = MultiProcessCollector.merge(self._names)
        return merged


def _is_readable(file: Path) -> bool:
    """A damaged file costs its own numbers, and no others."""
    try:
        _read(file)
        _render([file])
    except FileNotFoundError:  # its worker has died since we looked
        return False
    except Exception as error:  # noqa: BLE001
        _report(file, error)
        return False
    return True


def _report(file: Path, error: Exception) -> None:
    if file not in _reported:
        _reported.add(file)
        log.error("%s cannot be read, and what was counted there is missing: %s: %s", file, type(error).__name__, error)


def _read(file: Path) -> list[tuple[str, float]]:
    """The keys and values of a file.

    Raises: ValueError, struct.error, RuntimeError or OSError, for a file that is damaged.
    """
    found = []
    for key, value, _, _ in MmapedDict.read_all_values_from_file(str(file)):
        name, sample, labels, help_text = json.loads(
            key
        )  # a damaged length may repeat a key without end, but not a whole one
        if not all(isinstance(text, str) for text in (name, sample, help_text, *labels.values())):
            raise ValueError(f"this is no key: {key!r}")
        found.append((key, value))
    return found


def fold() -> None:
    """Add what dead processes have counted to the file of all the dead, so that neither a counter nor the folder changes
    by their death. Their gauges go. Another master may have workers here, so what counts is which processes exist.
    """
    path = folder()
    if path is None or not path.is_dir():
        return
    with _locked(path, fcntl.LOCK_EX, within_s=FOLD_WITHIN_S):
        left = [file for file in _files(path) if _is_dead(file.stem.rpartition("_")[2])]
        for pid in {file.stem.rpartition("_")[2] for file in left}:
            mark_process_dead(pid, str(path))
        for file in left:
            if file.exists():
                _add(file, path / f"{file.stem.partition('_')[0]}_{DEAD}.db")
                _remove(file)


def _is_dead(owner: str) -> bool:
    if owner == DEAD:
        return False
    try:
        os.kill(int(owner), 0)
    except (ValueError, ProcessLookupError):
        return True
    except OSError:  # it exists, and belongs to somebody else
        return False
    return False


def _add(file: Path, sum_file: Path) -> None:
    try:
        counted = _read(file)
    except Exception as error:  # noqa: BLE001
        _report(file, error)
        return
    if sum_file.exists() and not _is_readable(sum_file):
        _remove(sum_file)
    total = open_sum(sum_file, added=file)
    for key, value in counted:
        total.write_value(key, total.read_value(key)[0] + value, 0.0)
    total.close()


def _remove(path: Path) -> None:
    with suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


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
    """The kernel's counts for all workers together, read when somebody asks."""

    def collect(self) -> Iterator[Metric]:
        periods, throttled, seconds = read_throttling()
        yield CounterMetricFamily("cgroup_cpu_periods", "Periods in which the cgroup ran.", periods)
        yield CounterMetricFamily("cgroup_cpu_throttled_periods", "Of these, with its CPU quota spent.", throttled)
        yield CounterMetricFamily("cgroup_cpu_throttled_seconds", "Time stood still so, of all threads.", seconds)
