"""The commands beside a local run: `make migrate` and `make reload`. They start nothing that stays."""

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

import psutil

from local.notice import say
from local.places import LOCAL, PACKAGE, ROOT, RUN_LOCK, RUNNING
from local.process import LocalError, is_held
from local.servers import Postgres
from local.variables import environment, is_set

RELOAD_TIMEOUT_S = 60.0
"""The old ones may take GRACEFUL_TIMEOUT_S, 30 s by default, to finish what they have."""


def migrate() -> int:
    """`make run` does this by itself at its start; this is for what is written while it runs."""
    if is_set("DATABASE_URL"):
        return _migrate({})
    if LOCAL.is_dir() and is_held(RUN_LOCK):
        return _migrate(_running()["addresses"])
    with Postgres(LOCAL / "postgres") as server:
        return _migrate({"DATABASE_URL": server.complete_url})


def reload() -> int:
    """New workers with the new code, before the old ones go; or the reason why not, and everything is as it was."""
    try:
        return _reload(psutil.Process(_running()["pid"]))
    except psutil.NoSuchProcess:
        raise LocalError("Not reloaded: the service has ended.") from None


def _reload(master: psutil.Process) -> int:
    old = set(master.children())
    # As `make run` has it, which another terminal need not have.
    rehearsal = subprocess.run([sys.executable, "-m", PACKAGE, "rehearse"], cwd=ROOT, env=master.environ(), check=False)
    if rehearsal.returncode != 0:
        raise LocalError(
            "Not reloaded: new workers could not start, for the reason above, and the old ones serve on. "
            "If a migration is pending, run make migrate first."
        )
    master.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    while old & (workers := set(master.children())):
        if time.monotonic() > deadline:
            raise LocalError("Not reloaded yet: workers of before serve on, and what make run prints says why.")
        time.sleep(0.1)
    _end_runner(master)
    say(f"Reloaded: {len(workers)} new workers serve.")
    return 0


def _end_runner(master: psutil.Process) -> None:
    """Let it finish its jobs: `make run`, whose child it is, starts another with the new code."""
    make_run = master.parent()
    for process in make_run.children() if make_run else ():
        with suppress(psutil.NoSuchProcess):
            if process.cmdline()[-3:] == ["-m", PACKAGE, "work"]:
                process.terminate()


def _migrate(addresses: dict[str, str]) -> int:
    command = [sys.executable, "-m", PACKAGE, "migrate"]
    return subprocess.run(command, cwd=ROOT, env=environment() | addresses, check=False).returncode


def _running() -> dict[str, Any]:
    if not (LOCAL.is_dir() and is_held(RUN_LOCK)):
        raise LocalError("Nothing runs from this folder: make run starts it.")
    if not RUNNING.exists():
        raise LocalError("make run has not started the service yet: wait until it has.")
    return dict(json.loads(RUNNING.read_text()))
