"""The CPU time of a worker, by what used it: the thread of the event loop, its other threads, its child processes.

CPU time stays the same when other programs take the cores, so a verdict rests on it rather than on the clock.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

LOOKS, LOOK_S = 40, 0.1
IDLE_CORES = 0.25


class CpuUse(NamedTuple):
    """Seconds; `starved` are those in which it could run, and other programs had the cores."""

    loop: float = 0.0
    threads: float = 0.0
    processes: float = 0.0
    loop_starved: float = 0.0
    threads_starved: float = 0.0
    processes_starved: float = 0.0

    @property
    def total(self) -> float:
        return self.loop + self.threads + self.processes

    @property
    def wanted(self) -> float:
        """CPU time that the loop used, or would have used on a machine of its own."""
        return self.loop + self.loop_starved

    def plus(self, other: "CpuUse", times: float = 1.0) -> "CpuUse":
        return CpuUse(*(mine + times * its for mine, its in zip(self, other, strict=True)))


Snapshot = dict[tuple[str, int], tuple[float, float]]
"""Seconds that each thread ran and starved until now, by its kind and number."""


def snapshot(pids: Iterable[int]) -> Snapshot:
    """Read the threads of these workers and of their child processes; a worker of another machine has none here."""
    times: Snapshot = {}
    for pid in pids:
        with suppress(OSError, psutil.Error):
            children = [child.pid for child in psutil.Process(pid).children(recursive=True)]
            for owner in (pid, *children):
                for task in (int(folder.name) for folder in Path(f"/proc/{owner}/task").iterdir()):
                    kind = "processes" if owner != pid else "loop" if task == pid else "threads"
                    with suppress(OSError):  # the thread has ended
                        ran_ns, waited_ns, _ = map(
                            int, Path(f"/proc/{owner}/task/{task}/schedstat").read_text().split()
                        )
                        times[kind, task] = ran_ns / 1e9, waited_ns / 1e9
    return times


def used(before: Snapshot, after: Snapshot) -> CpuUse:
    """Return the use between two moments. A thread that has ended meanwhile takes nothing away from the others'."""
    sums = dict.fromkeys(CpuUse._fields, 0.0)
    for (kind, task), (ran_s, starved_s) in after.items():
        ran_before_s, starved_before_s = before.get((kind, task), (0.0, 0.0))
        sums[kind] += ran_s - ran_before_s
        sums[f"{kind}_starved"] += starved_s - starved_before_s
    return CpuUse(**sums)


def wait_until_idle(pids: Sequence[int]) -> None:
    """Wait for work that a window has left behind: jobs of clients that have gone, and processes that are starting."""
    for _ in range(LOOKS):
        before = snapshot(pids)
        time.sleep(LOOK_S)
        now = used(before, snapshot(pids))
        if max(now.total, now.processes + now.processes_starved) < IDLE_CORES * LOOK_S:
            return
