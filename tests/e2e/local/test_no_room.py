"""A checkout that cannot be written is said in a sentence."""

import os
import shutil
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
