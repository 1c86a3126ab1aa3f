"""A real service of a test's own: processes, a port, a log."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx
import psutil


class RunningService:
    def __init__(self, process: subprocess.Popen[bytes], *, port: int, log: Path) -> None:
        self._process = process
        self._log = log
        self.home = log.parent
        self.pid = process.pid
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    @classmethod
    def start(cls, package: str, root: Path, *, home: Path, variables: Mapping[str, object]) -> "RunningService":
        """Start the service of a package in `root` in a new folder, without a `.env` or the state of another service.

        A variable that is None is left out.
        """
        home.mkdir()
        env = {name: str(value) for name, value in variables.items() if value is not None}
        with (home / "log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", package, "run"],
                env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(root), **env},
                cwd=home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return cls(process, port=int(env["PORT"]), log=home / "log")

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def worker_pids(self) -> list[int]:
        return sorted(child.pid for child in psutil.Process(self.pid).children())

    def wait_ready(self, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            assert self.running, f"the service ended with {self._process.returncode}:\n{self.log()}"
            with suppress(httpx.TransportError):
                # To load certificates, which http:// does without, takes 27 ms each time.
                if httpx.get(f"{self.url}/readyz", timeout=2, verify=False).is_success:  # noqa: S501
                    return
            time.sleep(0.05)
        raise AssertionError(f"the service was not ready within {timeout_s} s:\n{self.log()}")

    def wait(self, timeout_s: float = 30) -> int:
        """Its exit code."""
        return self._process.wait(timeout_s)

    def stop(self, how: signal.Signals = signal.SIGTERM, *, within_s: float = 40) -> int:
        """End it in order; what does not end is killed. Its exit code."""
        family = self._family()
        if self.running:
            self._process.send_signal(how)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within_s)
        _kill(family)
        return self._process.wait()

    def kill(self) -> None:
        """Kill the master and every worker with kill -9."""
        _kill(self._family())
        self._process.wait()

    def _family(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            master = psutil.Process(self.pid)
            return [master, *master.children(recursive=True)]
        return []


def _kill(family: list[psutil.Process]) -> None:
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.kill()
