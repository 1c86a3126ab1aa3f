"""`run` says where the system allows a process too little, and raises what it can itself."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brigade.cli.conftest import ROOT

AWAY = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing", "REDIS_URL": "redis://127.0.0.1:1/0"}


@pytest.mark.parametrize("files", [24, 32])
def test_too_few_open_files_are_refused_in_a_sentence(tmp_path: Path, free_port: int, files: int) -> None:
    environment = os.environ | AWAY | {"PORT": str(free_port), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", f"ulimit -n {files}; exec {sys.executable} -m service run"],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("service: A worker needs ")
    assert f"open files at least, and {files} are allowed: raise the limit" in last


def test_limit_that_may_be_raised_is_raised() -> None:
    code = "import resource as r; from brigade.cli.process_limits import check_files as c; c(); print(r.getrlimit(r.RLIMIT_NOFILE))"
    limited = ["bash", "-c", f"ulimit -Sn 32; exec {sys.executable} -c '{code}'"]
    soft, hard = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, check=True).stdout[1:-2].split(", ")
    assert 32 < int(soft) < int(hard) == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
