"""Writes log lines to stdout: where they are made or, once started, from a thread, so that a slow reader stops no loop."""

import contextlib
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from brigade.telemetry.lines import PIECE_BYTES, LineFile

STDOUT, STDERR = 1, 2

QUEUE_LINES = 10_000
"""About 5 MB of lines. When the reader of stdout stalls for longer, lines are dropped and counted, not requests."""

GATHER_S = 0.02
"""How late a line may be. A thread that wakes for each line would take the GIL from the event loop as often."""

BATCH_LINES = 128
"""Lines of one write, some 50 kB. A batch of 128 kB and more is memory that the kernel clears again each time."""

PATIENCE_S = 0.2
"""How long a process without a thread waits for room, and how long one that ends waits for its thread."""

PAUSE_S, LONGEST_PAUSE_S = 0.05, 1.0
"""Between two attempts to write to what takes nothing."""

PIPE_BUF = 4096
"""Bytes that a pipe with any room accepts at once."""

Describe = Callable[..., bytes]
"""Renders one event as a line: level, event, and the values beside it."""


class LogWriter:
    """Keeps lines until they are written. Nothing that happens to stdout ends it."""

    def __init__(self, describe: Describe, descriptor: int = STDOUT) -> None:
        self.dropped_total = 0
        self._describe = describe
        self._file = LineFile(descriptor)
        self._lines: deque[bytes] = deque()
        self._dropped_told = 0
        self._failing = False
        self._wake = threading.Event()
        self._idle = self._stopping = False
        self._thread: threading.Thread | None = None
        self._writing = threading.Lock()
        self._not_before_s = 0.0

    def put(self, line: bytes) -> None:
        """Take one line, with its line end. From any thread."""
        if len(self._lines) >= QUEUE_LINES:
            self.dropped_total += 1
            return
        self._lines.append(line)
        if self._thread is None:
            self._write_here()
        elif self._idle:
            self._idle = False
            self._wake.set()

    def start(self) -> None:
        """Write from a thread from now on. Call this after the fork."""
        self._stopping = False
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def stop(self, *, within_s: float = 2.0) -> None:
        """Write what is there. A thread that is stuck in a write keeps the lines, and ends with the process."""
        if self._thread is not None:
            self._stopping = True
            self._wake.set()
            self._thread.join(within_s)
            if not self._thread.is_alive():
                self._thread = None

    def _work(self) -> None:
        pause_s = PAUSE_S
        while self._await_lines():
            try:
                written = self._write(within_s=PATIENCE_S)
            except Exception as error:  # noqa: BLE001 - the only thread that writes must not end
                self._complain(error)
                written = False
            if written:
                pause_s = PAUSE_S
            elif self._failing:
                if self._stopping:
                    return
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _await_lines(self) -> bool:
        """Sleep until lines have gathered. False means that there are none and that none will come."""
        if self._file.is_done and not self._lines:
            self._idle = True
            if not (self._lines or self._stopping):
                self._wake.wait()
            self._wake.clear()
            self._idle = False
        if not self._stopping and len(self._lines) < BATCH_LINES:
            time.sleep(GATHER_S)
        return not self._stopping or bool(self._lines) or not self._file.is_done

    def _write_here(self) -> None:
        """One caller writes for all. A signal handler may call this in the middle of a write: the line then waits."""
        while self._lines and time.monotonic() >= self._not_before_s and self._writing.acquire(blocking=False):
            try:
                if not self._write(within_s=PATIENCE_S, piece_bytes=PIPE_BUF):
                    self._not_before_s = time.monotonic() + LONGEST_PAUSE_S
            finally:
                self._writing.release()

    def _write(self, *, within_s: float, piece_bytes: int = PIECE_BYTES) -> bool:
        if self._file.is_done:
            self._file.take(self._drain())
        try:
            written = self._file.write(within_s=within_s, piece_bytes=piece_bytes)
        except OSError as error:
            self._complain(error)
            return False
        self._failing &= not written
        return written

    def _drain(self) -> list[bytes]:
        lines = [self._lines.popleft() for _ in range(min(BATCH_LINES, len(self._lines)))]
        if not self._lines and (dropped := self.dropped_total - self._dropped_told):
            self._dropped_told += dropped
            lines.append(self._describe("warning", "log lines dropped", lines=dropped))
        return lines

    def _complain(self, error: Exception) -> None:
        """Say once, on stderr, what is wrong with stdout."""
        if not self._failing:
            self._failing = True
            values: dict[str, Any] = {"error": str(error)}
            if isinstance(error, OSError) and error.errno:
                values["errno"] = errno.errorcode.get(error.errno)
            with contextlib.suppress(OSError):
                os.write(STDERR, self._describe("error", "log lines wait: stdout takes none", **values))
