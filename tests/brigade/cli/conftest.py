"""The commands as processes of their own, and copies of the service with other features in them."""

import asyncio
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent, indent
from uuid import uuid4

import asyncpg
import pytest

from local import process
from local.servers import Postgres
from service.settings import Settings

ROOT = Path(__file__).parents[3]

Command = Callable[..., "subprocess.Popen[str]"]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def command(tmp_path: Path) -> Iterator[Command]:
    """Starts `python -m service ...` with no variables of the service but those given; ends what is left of it."""
    started: list[subprocess.Popen[str]] = []
    own = {name.upper() for name in Settings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in own}

    def start(*arguments: str, code: Path = ROOT, **variables: object) -> "subprocess.Popen[str]":
        child = subprocess.Popen(
            [sys.executable, "-m", "service", *arguments],
            env=environment | {"PYTHONPATH": str(code)} | {name: str(value) for name, value in variables.items()},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(child)
        return child

    yield start
    for child in started:
        with child:
            child.kill()


@pytest.fixture
def run(command: Command) -> Run:
    def finish(*arguments: str, **options: object) -> "subprocess.CompletedProcess[str]":
        child = command(*arguments, **options)
        out, err = child.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, child.returncode, out, err)

    return finish


@pytest.fixture
def free_port() -> int:
    return process.free_port()


@pytest.fixture
def empty_database(postgres: Postgres) -> Iterator[str]:
    if not postgres.running:
        postgres.start()
    name = f"empty_{uuid4().hex}"
    query(postgres.url, f"CREATE DATABASE {name}")
    yield f"{postgres.url.rpartition('/')[0]}/{name}"
    query(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A copy of the project without any feature."""
    folder = tmp_path / "code"
    features = shutil.ignore_patterns("__pycache__", "features")
    shutil.copytree(ROOT / "service", folder / "service", ignore=features)
    (folder / "service" / "features").mkdir()
    shutil.copytree(ROOT / "brigade", folder / "brigade", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "deploy", folder / "deploy")
    return folder


def add_migration(code: Path, feature: str, number: int, body: str) -> Path:
    """The next revision of a feature, its upgrade made of `body`."""
    folder = code / "service" / "features" / feature / "migrations"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number:04}.py"
    path.write_text(
        f'"""Step {number} of {feature}."""\n\nfrom alembic import op\n\n'
        f"revision = '{feature}_{number:04}'\n"
        f"down_revision = {f'{feature}_{number - 1:04}' if number > 1 else None!r}\n"
        f"branch_labels = {(feature,) if number == 1 else None!r}\n\n\n"
        f"def upgrade() -> None:\n{indent(dedent(body).strip(), '    ')}\n"
    )
    return path


def query(url: str, statement: str) -> list[asyncpg.Record]:
    async def fetch() -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url)
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()

    return asyncio.run(fetch())
