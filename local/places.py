"""The files of a local run: all of them are below the clone, and none is in git."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
RUN_LOCK = LOCAL / "run.lock"
RUNNING = LOCAL / "running.json"
PACKAGE: str = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["brigade"]["package"]
"""The package that is served."""
