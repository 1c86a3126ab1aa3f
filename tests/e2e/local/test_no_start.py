"""A local run that cannot start, or is interrupted before it has: a sentence at most, and never a traceback."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from local.process import exclusive, free_port

ROOT = Path(__file__).parents[3]
READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && cd "$0" && exec "$@"'


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A checkout that has nothing but these commands."""
    shutil.copytree(ROOT / "local", tmp_path / "local", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / ".local").mkdir()
    return tmp_path


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root mounts")
@pytest.mark.parametrize("command", ["run", "migrate", "reload"])
def test_read_only_checkout_is_said_in_a_sentence(command: str, bare: Path) -> None:
    mounted = ["unshare", "--mount", "sh", "-c", READ_ONLY, str(bare), sys.executable, "-m", "local", command]
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


def _run(bare: Path, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "local", *command]
    environment = {"PATH": os.environ["PATH"]} | variables
    return subprocess.run(words, cwd=bare, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_record_of_a_run_that_was_killed_is_nobodys(bare: Path) -> None:
    """The process id may be another program's by now, to which a reload would send SIGHUP."""
    record = bare / ".local" / "running.json"
    ended = subprocess.Popen(["true"])
    ended.wait()
    record.write_text(json.dumps({"pid": ended.pid, "addresses": {}}))
    with exclusive(bare / ".local" / "run.lock", busy="held"):
        assert _run(bare, "reload").stderr == "Not reloaded: the service has ended.\n"
    assert "a port is 1 to 65535" in _run(bare, "run", PORT="99999").stderr
    assert not record.exists()
    with exclusive(bare / ".local" / "run.lock", busy="held"):
        for command in ("reload", "migrate"):
            assert _run(bare, command).stderr == "make run has not started the service yet: wait until it has.\n"


def test_closed_output_becomes_no_file_of_the_run(bare: Path) -> None:
    """Postgres is there, then the migration fails, as the service is not."""
    command = f"PORT={free_port()} exec {sys.executable} -m local run >&-"
    done = subprocess.run(["sh", "-c", command], cwd=bare, stderr=subprocess.PIPE, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert done.stderr == f"{sys.executable}: No module named service\n"
    assert [path.name for path in (bare / ".local").iterdir() if path.is_file() and path.stat().st_size] == []
