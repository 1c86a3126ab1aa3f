"""Whole log lines on a descriptor that other processes write to as well."""

import contextlib
import fcntl
import os
import select
import time
from collections.abc import Iterable

PIECE_BYTES = 65_536
"""Bytes that one call gives to the kernel. A pipe holds the same number."""

RETRY_LOCK_S = 0.002


class LineFile:
    """Lines are written under a lock between processes, because a pipe divides what is longer than 4 kB.

    What could not be written stays here, so that no line is cut. The lock is kept as long as half a line is out.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines = b""
        self._written = 0
        self._locked = False
        self._room = select.poll()
        self._room.register(descriptor, select.POLLOUT)

    @property
    def is_done(self) -> bool:
        return self._written == len(self._lines)

    def take(self, lines: Iterable[bytes]) -> None:
        """Accept what `write` writes next. Call this only when the file `is_done`."""
        self._lines, self._written = b"".join(lines), 0

    def write(self, *, within_s: float, piece_bytes: int = PIECE_BYTES) -> bool:
        """Write what is left. False means that there was no room for all of it in that time.

        Raises:
            OSError: the descriptor takes nothing at the moment, because the disk is full or nobody reads the pipe.
        """
        deadline_s = time.monotonic() + within_s
        try:
            while not self.is_done:
                if not (self._lock(deadline_s) and self._wait_for_room(deadline_s)):
                    return False
                with contextlib.suppress(BlockingIOError):  # others took the room
                    self._written += os.write(self._descriptor, self._next(piece_bytes))
            return True
        finally:
            if self._written == 0 or self._lines[self._written - 1] == ord("\n"):
                self._unlock()

    def _next(self, piece_bytes: int) -> memoryview:
        return memoryview(self._lines)[self._written : self._written + piece_bytes]

    def _wait_for_room(self, deadline_s: float) -> bool:
        return bool(self._room.poll(max(0.0, deadline_s - time.monotonic()) * 1000))

    def _lock(self, deadline_s: float) -> bool:
        while not self._locked:
            try:
                fcntl.lockf(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                self._locked = True
            except (BlockingIOError, PermissionError):  # another process has it
                if time.monotonic() > deadline_s:
                    return False
                time.sleep(RETRY_LOCK_S)
            except OSError:  # this kind of file has no locks
                return True
        return True

    def _unlock(self) -> None:
        if self._locked:
            self._locked = False
            with contextlib.suppress(OSError):
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN)
