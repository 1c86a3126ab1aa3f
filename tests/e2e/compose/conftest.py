"""One image and one running stack for all of these tests. Without a Docker engine they are skipped, and say so."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.process import free_port
from tests.e2e.compose.stack import Stack, copy_of_the_repository

ENGINE_S = 20
PASSWORD = """s3/cr#t%41@"q'?&=\\ $HOME"""
"""What a URL, a shell, an INI file or Compose would read as something else."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    mine = [item for item in items if here in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.timeout(400))
        item.add_marker(pytest.mark.docker)


@pytest.fixture(scope="session")
def engine() -> None:
    try:
        for asked in (["info"], ["compose", "version"]):  # an engine may be there without Compose
            subprocess.run(["docker", *asked], check=True, capture_output=True, timeout=ENGINE_S)
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"no Docker engine with Compose answers, so nothing of Compose was run: {error}"
        if os.environ.get("BRIGADE_E2E"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def clone(engine: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its path has a space and a letter that is not ASCII."""
    return copy_of_the_repository(tmp_path_factory.mktemp("clone") / "mein Büro")


@pytest.fixture(scope="session")
def stack(clone: Path) -> Iterator[Stack]:
    """Up, from nothing, as the one command would do it."""
    stack = Stack(
        clone,
        project="brigade-e2e",
        port=free_port(),
        POSTGRES_PASSWORD=PASSWORD,
        LOCUST_PORT=str(free_port()),
        PROMETHEUS_PORT=str(free_port()),
    )
    stack.down()
    try:
        stack.shell("docker compose up --detach --build --wait")
        yield stack
    finally:
        sys.stdout.write(stack.compose("logs", "--no-color", "--tail", "100").stdout)
        stack.down()
