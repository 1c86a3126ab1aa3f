"""The other workers of this host: the system says whether a process runs, is stopped, or has ended, before Redis does."""

import time
from collections.abc import Iterable
from contextlib import suppress

import psutil

from brigade.ops.workers import WorkerState

SILENT_S = 1.2
"""Seconds without a write after which a worker is called silent, though its process is not stopped."""

Key = tuple[str, float]
"""Id and start of a worker: a later process may have the number of an earlier one."""


class Neighbours:
    """Called by the event loop and by the thread that publishes."""

    def __init__(self, own: str, host: str) -> None:
        self._own, self._host = own, host
        self._beats: dict[Key, tuple[bytes, float]] = {}
        """The last beat of each worker, and when this worker first saw it, by `time.monotonic`."""
        self._processes: dict[Key, psutil.Process] = {}

    def is_other(self, state: WorkerState) -> bool:
        return state.host == self._host and state.id != self._own

    def hear(self, state: WorkerState, beat: bytes) -> float:
        """Return when this beat of a worker was first seen."""
        key = state.id, state.started_at
        if key not in self._processes:
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(state.pid)
                if process.create_time() <= state.started_at + 1:
                    self._processes[key] = process
        last, since_s = self._beats.get(key, (b"", 0.0))
        if last != beat:
            since_s = time.monotonic()
            self._beats[key] = beat, since_s
        return since_s

    def judge(self, state: WorkerState, beat: bytes) -> WorkerState | None:
        """Return the state as the system tells it now: another one for a stopped process, None for one that ended.

        One that was draining has not died: it is told until Redis forgets it.
        """
        if not self.is_other(state):
            return state
        silent_s = time.monotonic() - self.hear(state, beat)
        status = self._status(state, silent_s)
        if status == psutil.STATUS_ZOMBIE:
            return state if state.state == "draining" else None
        if status == psutil.STATUS_STOPPED or silent_s >= SILENT_S:
            update = {"state": "frozen", "silent": True, "stalled_ms": round(silent_s * 1000)}
            return state.model_copy(update=update)
        return state

    def keep(self, states: Iterable[WorkerState]) -> None:
        """Forget all other workers."""
        kept = {(state.id, state.started_at) for state in states}
        for known in (self._beats, self._processes):
            for key in known.keys() - kept:
                del known[key]

    def _status(self, state: WorkerState, silent_s: float) -> str:
        """Return the status of the process; a zombie's for one that has ended.

        Containers may share the name of their host and not its processes. So a process that was never found here has
        ended only if its worker no longer writes.
        """
        process = self._processes.get((state.id, state.started_at))
        if process is None:
            return psutil.STATUS_ZOMBIE if silent_s >= SILENT_S else psutil.STATUS_RUNNING
        try:
            return process.status() if process.is_running() else psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return psutil.STATUS_ZOMBIE
