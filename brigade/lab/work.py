"""A piece of CPU work of a fixed size: the same number of iterations wherever and however often it runs.

A busy wait for a duration would be done in time however many did it at once, and its throughput would mean nothing.
"""

import contextlib
import os
import time
from pathlib import Path


def spin(iterations: int) -> int:
    """Pure Python, so it holds the GIL as most code does."""
    number = 1
    for _ in range(iterations):
        number = (number * 48271) % 2147483647
    return number


def calibrate(path: Path) -> int:
    """Return this machine's iterations in a millisecond. The first caller measures them, and all use the same number.

    Where the number cannot be kept, each worker measures for itself.
    """
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            _keep(_measure(), path)
        return int(path.read_text())
    except (OSError, ValueError):
        return _measure()


def _keep(iterations: int, path: Path) -> None:
    measured = path.with_suffix(f".{os.getpid()}")
    try:
        measured.write_text(str(iterations))
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(measured)
    finally:
        measured.unlink(missing_ok=True)


def _measure() -> int:
    """The fastest of ten runs, in CPU time: the others were disturbed."""
    iterations, spent_s = 20_000, []
    for _ in range(10):
        started_s = time.thread_time()
        spin(iterations)
        spent_s.append(time.thread_time() - started_s)
    return max(1, round(iterations / min(spent_s) / 1000))
