"""Where a local run keeps things: all of it below the clone, none of it in git."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCAL = ROOT / ".local"
RUN_LOCK = LOCAL / "run.lock"
RUNNING = LOCAL / "running.json"
