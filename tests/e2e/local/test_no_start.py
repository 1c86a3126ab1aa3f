"""A local run that cannot start, or is interrupted before it has: a sentence at most, and never a traceback."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root mounts")
@pytest.mark.parametrize("command", ["run", "migrate", "reload"])
def test_read_only_checkout_is_said_in_a_sentence(command: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "local", tmp_path / "local", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".local").mkdir()
    mounted = ["unshare", "--mount", "sh", "-c", READ_ONLY, str(tmp_path), sys.executable, "-m", "local", command]
    done = subprocess.run(mounted, capture_output=True, text=True, check=False, timeout=60)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1
    assert ".local, which cannot be written: " in done.stderr


def test_interrupt_before_anything_is_started_says_nothing(tmp_path: Path) -> None:
    """Imports take half a second, in which Ctrl-C is as likely as later."""
    (tmp_path / "psutil.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    command = [sys.executable, "-m", "local", "reload"]
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == -signal.SIGINT
    assert done.stderr == ""
