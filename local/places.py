"""The files of a local run: all of them are below the clone, and none is in git."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
RUN_LOCK = LOCAL / "run.lock"
RUNNING = LOCAL / "running.json"
