"""The engine as a wheel: in an empty environment, beside a copy of `service/`, it serves and reloads."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from brigade.testing import RunningService
from local.process import free_port

ROOT = Path(__file__).parents[2]
PYCACHE = shutil.ignore_patterns("__pycache__")


def _run(*command: str | Path, cwd: Path) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "brigade", folder / "source", ignore=PYCACHE)
    _run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", folder, "./source", cwd=folder)
    return next(folder.glob("brigade_engine-*.whl"))


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has the wheel, what the wheel asks for, and what the service asks for in the versions that are locked."""
    folder = tmp_path_factory.mktemp("empty")
    _run(sys.executable, "-m", "venv", folder, cwd=folder)
    own = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    locked = folder / "locked.txt"
    pins = re.findall(
        r"^[\w.\[\]-]+==\S+(?: ;.*?)?(?= \\\\$)", (ROOT / "requirements" / "service.txt").read_text(), re.M
    )
    locked.write_text("\n".join(pins))
    install = ["-m", "pip", "install", "-q", "--no-compile", "-c", str(locked)]
    _run(folder / "bin" / "python", *install, wheel, *own, cwd=folder)
    return folder / "bin" / "python"


def test_the_wheel_has_every_file_of_the_engine(wheel: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "brigade"], cwd=ROOT, capture_output=True, text=True, check=True)
    engine = set(listed.stdout.split()) - {"brigade/pyproject.toml"}
    assert engine <= set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture
def service(python: Path, database_url: str, redis_url: str, tmp_path: Path) -> Iterator[RunningService]:
    shutil.copytree(ROOT / "service", tmp_path / "service", ignore=PYCACHE)
    port = free_port()
    variables = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": str(port), "WEB_CONCURRENCY": "2"}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", "service", "run"],
            cwd=tmp_path,
            env={"PATH": os.environ["PATH"], "LAB_ENABLED": "1", **variables},
            stdout=log,
            stderr=log,
        )
    running = RunningService(process, port=port, log=tmp_path / "log")
    yield running
    running.stop()


@pytest.mark.timeout(600)
def test_it_serves_and_reloads_beside_a_service(service: RunningService) -> None:
    service.wait_ready()
    for path in ("/docs", "/lab", "/metrics", "/workers"):
        assert httpx.get(f"{service.url}{path}").status_code == 200, path
    assert httpx.post(f"{service.url}/notes", json={"text": "Buy milk."}).status_code == 201
    old = set(service.worker_pids())
    os.kill(service.pid, signal.SIGHUP)
    deadline = time.monotonic() + 60
    while old & set(service.worker_pids()):
        assert time.monotonic() < deadline, service.log()
        assert httpx.get(f"{service.url}/livez").status_code == 200
        time.sleep(0.05)
    assert httpx.get(f"{service.url}/notes").json()["items"][0]["text"] == "Buy milk."
    assert service.running
