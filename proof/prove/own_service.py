"""One service that the proof starts for itself, as a process. Knows nothing of what is measured."""

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import suppress
from pathlib import Path
from typing import Self

from local.process import LocalError, free_port, spawn, terminate
from proof.prove.client import is_ready

ROOT = Path(__file__).resolve().parent.parent.parent
READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0


def environment(variables: dict[str, str], home: Path, project: Path = ROOT) -> dict[str, str]:
    """Nothing of this terminal's: no `.env` and no variable changes what is proved."""
    path = os.pathsep.join(dict.fromkeys(map(str, (project, ROOT))))
    return {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": path, **variables}


def package_of(project: Path) -> str:
    """Return the name of the package that a project's `make run` starts."""
    try:
        return str(tomllib.loads((project / "pyproject.toml").read_text())["tool"]["brigade"]["package"])
    except (OSError, ValueError, KeyError):
        raise LocalError(f"{project} is no project: its pyproject.toml names no [tool.brigade] package.") from None


def command_of(project: Path, *words: str) -> list[str]:
    """Return a command line of the project's service, by the project's own Python where it has one."""
    own = project / ".venv" / "bin" / "python"
    return [str(own) if own.exists() else sys.executable, "-m", package_of(project), *words]


def migrate(variables: dict[str, str], project: Path = ROOT) -> None:
    command = command_of(project, "migrate")
    done = subprocess.run(command, env=variables, cwd=variables["HOME"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LocalError(f"The schema could not be made: {done.stderr.strip().splitlines()[-1]}")


def has_jobs(project: Path) -> bool:
    return any((project / package_of(project) / "features").glob("*/jobs.py"))


def start_runner(variables: dict[str, str], home: Path, project: Path = ROOT) -> "subprocess.Popen[bytes]":
    """Start what does the jobs of a project's service."""
    with (home / "runner.log").open("ab") as log:
        return spawn(command_of(project, "work"), env=variables, cwd=home, stdout=log, stderr=log)


class OwnService:
    def __init__(self, workers: int, variables: dict[str, str], home: Path, project: Path = ROOT) -> None:
        self._home = home
        self._project = project
        self.log = home / "log"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._variables = {
            "WEB_CONCURRENCY": str(workers),
            "PORT": str(port),
            "LAB_ENABLED": "1",
            "EXPOSE_WORKER": "1",
            "STATE_DIR": str(home / "state"),
        } | variables

    def start(self) -> None:
        self._home.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            self._process: subprocess.Popen[bytes] = spawn(
                command_of(self._project, "run"),
                env=environment(self._variables, self._home, self._project),
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
                said = self.log.read_text(errors="replace")
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
