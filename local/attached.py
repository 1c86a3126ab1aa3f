"""What can be done beside a local run: `make migrate` and `make reload`. Starts nothing that stays."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

from local.places import LOCAL, ROOT, RUN_LOCK, RUNNING
from local.process import LocalError, is_held
from local.servers import Postgres
from local.variables import environment, is_set


def migrate() -> int:
    """`make run` does this by itself at its start; this is for what is written while it runs."""
    if is_set("DATABASE_URL"):
        return _migrate({})
    if LOCAL.is_dir() and is_held(RUN_LOCK):
        return _migrate(_running()["addresses"])
    with Postgres(LOCAL / "postgres") as server:
        return _migrate({"DATABASE_URL": server.url})


def reload() -> int:
    """New workers with the new code, before the old ones go."""
    os.kill(_running()["pid"], signal.SIGHUP)
    return 0


def _migrate(addresses: dict[str, str]) -> int:
    command = [sys.executable, "-m", "service", "migrate"]
    return subprocess.run(command, cwd=ROOT, env=environment() | addresses, check=False).returncode


def _running() -> dict[str, Any]:
    if LOCAL.is_dir() and is_held(RUN_LOCK) and RUNNING.exists():
        return dict(json.loads(RUNNING.read_text()))
    raise LocalError("Nothing runs from this folder: make run starts it.")
