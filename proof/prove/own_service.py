"""One service that the proof starts for itself, as a process. Knows nothing of what is measured."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

from local.process import LocalError, free_port, spawn, terminate
from proof.prove.client import is_ready

ROOT = Path(__file__).resolve().parent.parent.parent
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


def environment(variables: dict[str, str], home: Path) -> dict[str, str]:
    """Nothing of this terminal's: no `.env` and no variable changes what is proved."""
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), **variables}


def migrate(variables: dict[str, str]) -> None:
    command = [sys.executable, "-m", "service", "migrate"]
    done = subprocess.run(command, env=variables, cwd=variables["HOME"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalError(f"The schema could not be made: {done.stderr.strip().splitlines()[-1]}")


class OwnService:
    def __init__(self, workers: int, variables: dict[str, str], home: Path) -> None:
        self._home = home
        self._log = home / "log"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._variables = variables | {
            "WEB_CONCURRENCY": str(workers),
            "PORT": str(port),
            "LAB_ENABLED": "1",
            "EXPOSE_WORKER": "1",
            "STATE_DIR": str(home / "state"),
        }

    def start(self) -> None:
        self._home.mkdir(exist_ok=True)
        with self._log.open("ab") as log:
            self._process: subprocess.Popen[bytes] = spawn(
                [sys.executable, "-m", "service", "run"],
                env=environment(self._variables, self._home),
                cwd=self._home,
                stdout=log,
                stderr=log,
            )

    def work_as(self, other: Self) -> None:
        """The lab measures once how much work a millisecond is: before the start, take what `other` found."""
        other.wait_until_ready()
        if (other._home / "state" / "lab").exists():
            shutil.copytree(other._home / "state" / "lab", self._home / "state" / "lab")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not is_ready(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text(errors="replace")
                raise LocalError(f"The service did not become ready: {said[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        terminate(self._process, within_s=STOP_TIMEOUT_S)
        self._kill()

    def restart(self) -> None:
        """Restart the service at once, even if it is busy."""
        self._kill()
        self._process.wait()
        self.start()
        self.wait_until_ready()

    def _kill(self) -> None:
        """Kill the service and its workers, also those that are too busy to notice that their master has gone."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
