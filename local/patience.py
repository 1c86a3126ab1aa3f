"""A deadline for each step of a command, so that it ends whatever the service does, and leaves nothing running.

Knows nothing of what the command does.
"""

import signal
import subprocess
from contextlib import suppress
from multiprocessing import active_children
from types import TracebackType
from typing import Self

import psutil

from local.process import LocalError, terminate

CLEANUP_S = 60.0
"""Seconds to end in order what was started. After that it is killed."""
AGAIN_S = 5.0


class Overdue(KeyboardInterrupt):
    """Ends a step as Ctrl-C does: no event loop and no `except Exception` between it and the command keeps it."""


class Patience:
    """Raises LocalError, which names the step, where a step takes longer than it may or the service does not answer it.

    It uses SIGALRM, so it belongs to the main thread, and a process has one at a time.
    """

    def __init__(self, what: str, within_s: float) -> None:
        self._what, self._within_s = what, within_s
        self._is_over = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGALRM, self._ring)
        self.step(self._what, self._within_s)
        return self

    def step(self, what: str, within_s: float) -> None:
        """Begin the next step: what to name if it has not ended within so many seconds."""
        self._what, self._within_s = what, within_s
        signal.setitimer(signal.ITIMER_REAL, within_s)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._before)
        if self._is_over:
            _kill(psutil.Process().children(recursive=True))
            raise LocalError(f"{self._what} did not end within {self._within_s:g} s.") from error
        if isinstance(error, OSError | EOFError | subprocess.SubprocessError):
            raise LocalError(f"{self._what} failed: {str(error) or type(error).__name__}.") from error

    def _ring(self, *_: object) -> None:
        if self._is_over:
            _kill(psutil.Process().children(recursive=True))
            signal.setitimer(signal.ITIMER_REAL, AGAIN_S)
            return
        self._is_over = True
        signal.setitimer(signal.ITIMER_REAL, CLEANUP_S)
        for process in active_children():  # a pool waits for its processes, and they wait for the service
            process.kill()
        raise Overdue


def end_family(process: subprocess.Popen[bytes], *, within_s: float) -> None:
    """Terminate a process, and kill what it started and has not ended by then, such as a service that is frozen."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    try:
        terminate(process, within_s=within_s)
    finally:
        _kill(family)


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
