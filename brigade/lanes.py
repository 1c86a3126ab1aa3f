"""The CPU lane: where work runs that would freeze the event loop, a few jobs at a time, the rest in a short queue.

Plain `def` behind the usual 40 threads let four 50 ms jobs push an async route's p99 from 3 to 187 ms; one thread
and a short GIL switch interval held it at 7 ms for 5 % of the CPU throughput.
"""

import importlib
import inspect
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import anyio.to_process
import anyio.to_thread
from anyio import CapacityLimiter

from brigade.errors import LaneFull
from brigade.telemetry import tracing
from brigade.telemetry.tracing import note

T = TypeVar("T")

GIL_SWITCH_INTERVAL_S = 0.0005
"""Python's own 5 ms is what a waking event loop waits for the GIL beside one busy thread; 0.5 ms cut the p99 by 8."""


class CpuLane:
    """`threads` jobs run, `queue` jobs wait, one more is refused. Create it inside the event loop."""

    def __init__(self, *, threads: int, queue: int, processes: bool = False) -> None:
        self.threads = threads
        self.queue = queue
        self.processes = processes
        self.done_total = 0
        self.rejected_total = 0
        self.trace: Callable[[float, float], None] | None = None
        """Told when each job began and ended, in its thread and its context, while somebody watches."""
        self._inside = 0
        self._mean_s = 0.05
        self._limiter = CapacityLimiter(threads)
        if not processes:
            sys.setswitchinterval(GIL_SWITCH_INTERVAL_S)

    @property
    def running(self) -> int:
        return min(self._inside, self.threads)

    @property
    def waiting(self) -> int:
        return max(0, self._inside - self.threads)

    async def run(self, job: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
        """Run `job` off the loop; a job that has begun runs to its end, also when its caller is cancelled.

        Raises:
            LaneFull: `queue` jobs wait already.
        """
        if self._inside >= self.threads + self.queue:
            self.rejected_total += 1
            wait_s = self._mean_s * self._inside / self.threads
            raise LaneFull(f"{self.waiting} jobs wait already.", retry_after_s=wait_s)
        self._inside += 1
        began_s = time.perf_counter()
        try:
            if self.processes:
                call = partial(_run_by_name, job.__module__, job.__qualname__, args, kwargs, tracing.carried())
                return await self._in_process(call, began_s)
            call = partial(self._timed, job, args, kwargs, began_s)
            return await anyio.to_thread.run_sync(call, limiter=self._limiter)
        finally:
            self._inside -= 1
            self.done_total += 1

    async def _in_process(self, call: Callable[[], T], began_s: float) -> T:
        try:
            return await anyio.to_process.run_sync(call, limiter=self._limiter)
        finally:
            note("lane", began_s, span="cpu lane")

    def _timed(self, job: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], queued_s: float) -> T:
        started = time.perf_counter()
        note("queue", queued_s, started, span="cpu lane queue")
        try:
            return job(*args, **kwargs)
        finally:
            ended = time.perf_counter()
            note("lane", started, ended, span="cpu lane", attributes={"code.function.name": job.__qualname__})
            self._mean_s += 0.1 * (ended - started - self._mean_s)
            if self.trace is not None:
                self.trace(started, ended)


def _run_by_name(
    module: str, qualname: str, args: tuple[Any, ...], kwargs: dict[str, Any], trace: dict[str, str]
) -> Any:
    """Run a job in the lane's process. The name may be bound to a decorated function, and the job is what it wraps."""
    tracing.resume(trace)
    target: Any = importlib.import_module(module)
    for part in qualname.split("."):
        target = getattr(target, part)
    return inspect.unwrap(target)(*args, **kwargs)
