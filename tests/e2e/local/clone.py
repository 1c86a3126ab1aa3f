"""A copy of the tree as git would clone it, and `make run` in it as some user, with an empty home."""

import itertools
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from local.process import free_port

ROOT = Path(__file__).parents[3]
# The one that runs the tests may be where another user cannot reach.
_PYTHON_OF_ALL = shutil.which("python3", path="/usr/local/bin:/usr/bin") or "python3"
_numbers = itertools.count()
FOLDER = "mein Büro"
"""A space, and a letter that is not ASCII."""
MADE = shutil.ignore_patterns(".*", "__pycache__", "reports", "build", "dist")


def _forget_parent() -> None:
    """Start as without nohup, under which the tests may run."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@dataclass(frozen=True)
class Clone:
    folder: Path
    user: str
    stdin: int = subprocess.DEVNULL
    _runs: "list[LocalRun]" = field(default_factory=list)

    @classmethod
    def make(cls, parent: Path, *, user: str) -> "Clone":
        """Below a home that is closed to all others."""
        shutil.copytree(ROOT, parent / FOLDER, ignore=MADE)
        (parent / "home").mkdir()
        owner = pwd.getpwnam(user)
        for path in (parent, *parent.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid)
        parent.chmod(0o700)
        return cls(parent / FOLDER, user)

    def start(self, *command: str, **variables: str | int) -> "LocalRun":
        variables.setdefault("PORT", free_port())
        python = sys.executable if self.user == _me() else _PYTHON_OF_ALL
        network = {
            name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_PROXY")
        }
        env = network | {"PATH": os.environ["PATH"], "HOME": str(self.folder.parent / "home"), "PYTHON": python}
        output = self.folder.parent / f"output-{next(_numbers)}"
        with output.open("wb") as stdout:
            process = subprocess.Popen(
                [*self._as_user(), *command],
                cwd=self.folder,
                env=env | {name: str(value) for name, value in variables.items()},
                stdin=self.stdin,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_forget_parent,  # noqa: PLW1509 - it takes no lock
            )
        self._runs.append(LocalRun(process, int(variables["PORT"]), output))
        return self._runs[-1]

    def supervise(self, **variables: str | int) -> "LocalRun":
        """What `make run` comes to once the environment is there. Its exit code is its own, not make's."""
        return self.start(sys.executable, "-m", "local", "run", **variables)

    def address(self, name: str) -> str:
        """Of a server that the run in progress started."""
        return str(json.loads((self.folder / ".local" / "running.json").read_text())["addresses"][name])

    def processes(self) -> list[psutil.Process]:
        """Whatever runs from this folder."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if str(self.folder) in " ".join([process.cwd(), *process.cmdline()]):
                    found.append(process)
        return found

    def find(self, name: str) -> psutil.Process:
        """Others may end while it looks."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                if process.name() == name:
                    return process
        raise AssertionError(f"no {name} runs from {self.folder}")

    def wait_until_empty(self, timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while left := self.processes():
            assert time.monotonic() < deadline, f"left behind: {left}"
            time.sleep(0.1)

    def clear(self) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.wait_until_empty()
        for run in self._runs:
            run.process.wait(10)

    def _as_user(self) -> list[str]:
        owner = pwd.getpwnam(self.user)
        change = ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups"]
        return [] if self.user == _me() else change


@dataclass(frozen=True)
class LocalRun:
    process: "subprocess.Popen[bytes]"
    port: int
    _output: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for(self, words: str, timeout_s: float = 110) -> float:
        """How many seconds until it has said so."""
        started = time.monotonic()
        while words not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < started + timeout_s, self.output()
            time.sleep(0.05)
        return time.monotonic() - started

    def wait_ready(self) -> float:
        waited_s = self.wait_for("\nReady after ")
        while not httpx.get(f"{self.url}/readyz", verify=False).is_success:  # as after a restart of one of its servers
            time.sleep(0.05)
        return waited_s

    def end(self, how: signal.Signals = signal.SIGTERM, timeout_s: float = 60) -> int:
        self.process.send_signal(how)
        return self.process.wait(timeout_s)


def _me() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def users() -> list[str]:
    """The one who runs the tests, and where that is root an ordinary one too."""
    return [_me(), "daemon"] if os.geteuid() == 0 else [_me()]
