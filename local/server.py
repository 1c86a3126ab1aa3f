"""The life of a server with a data folder: start, stop, crash, restart. What the server is, its subclasses say."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from local.process import LocalError, exclusive, free_port, spawn, terminate
from local.variables import without_libpq

START_TIMEOUT_S = 60.0
"""Long enough for the recovery that follows a kill -9 under load."""


class Server(ABC):
    """One server and its data folder. The port stays the same over restarts."""

    name: str
    stop_signal: signal.Signals
    root_allowed: bool

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.port = free_port()
        self._log = self.data_dir / "log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    @abstractmethod
    def url(self) -> str: ...

    @property
    def complete_url(self) -> str:
        """The URL with every part, so that no variable of a client's shell completes it."""
        return self.url

    @property
    def pid(self) -> int:
        if self._process is None:
            raise LocalError(f"{self.name} has not been started.")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        busy = f"{self.name} in {self.data_dir} is still running: end it, or wait for it to end."
        with exclusive(self.data_dir / "lock", wait_s=30, busy=busy) as lock:
            self._prepare()
            self._process = self._spawn(self._command(), typed=self._configuration(), lock=lock)
        self._wait_until_ready(self._process)

    def stop(self) -> None:
        """End in order: nothing acknowledged is lost."""
        self._end(self.stop_signal)

    def kill(self) -> None:
        """End as a crash would, and wait until every process of the server has gone."""
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            terminate(self._process, how)
            with exclusive(self.data_dir / "lock", wait_s=30, busy=f"{self.name} did not end."):
                self._process = None

    def _spawn(
        self, command: Sequence[str | Path], *, typed: str = "", lock: int | None = None
    ) -> subprocess.Popen[bytes]:
        with self._log.open("wb") as log:
            process = spawn(
                command,
                dies_by=self.stop_signal,
                root_allowed=self.root_allowed,
                env=without_libpq(os.environ) | {"LC_ALL": "C"},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[] if lock is None else [lock],
            )
        assert process.stdin
        with suppress(BrokenPipeError), process.stdin:
            process.stdin.write(typed.encode())
        return process

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._ready():
            if process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                lines = self._log.read_text(errors="replace").splitlines() or ["it said nothing"]
                raise LocalError(f"{self.name} did not start: {lines[-1].strip()} ({self._log} has the rest).")
            time.sleep(0.02)

    @abstractmethod
    def _prepare(self) -> None:
        """Make the data folder fit to start from. No process of an earlier start is left when this is called."""

    @abstractmethod
    def _command(self) -> list[str | Path]: ...

    def _configuration(self) -> str:
        """Return the configuration that the server reads from its standard input."""
        return ""

    @abstractmethod
    def _ready(self) -> bool: ...
