"""Real servers for every test: one Postgres and one Valkey a session, a database of its own for each test."""

import asyncio
import itertools
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import hypothesis
import pytest
import redis as redis_sync
from redis.asyncio import Redis
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from brigade.telemetry import metrics
from local.process import free_port, spawn
from local.servers import Postgres, Valkey
from local.variables import without_libpq
from service.main import FEATURES
from service.settings import Settings
from tests.running import RunningService

ROOT = Path(__file__).parent.parent
# The machine's disk is not under test. Commits stay synchronous: a killed Postgres must lose none.
FAST = {"fsync": "off", "full_page_writes": "off"}
Variables = dict[str, str | int | Path | None]
NAMES = {feature.__name__.rpartition(".")[2] for feature in FEATURES}
_numbers = itertools.count()


# Hypothesis would draw the same in every run of CI; here each run draws anew, and says from what seed.
hypothesis.settings.register_profile("drawn", derandomize=False, deadline=None, print_blob=True)
hypothesis.settings.load_profile("drawn")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    for name in os.environ.keys() - without_libpq(os.environ):
        del os.environ[name]  # the shell's PGSSLMODE is for another Postgres than these
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(secrets.randbelow(2**32))


def pytest_report_header(config: pytest.Config) -> str:
    return f"what is drawn: --hypothesis-seed={config.option.hypothesis_seed}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What may take longest begins first, so that of two processes none has it left at the end."""
    driven = {item: {feature for mark in item.iter_markers("drives") for feature in mark.args} for item in items}
    gone = [item for item in items if not driven[item] <= {*NAMES, "lab"}]
    config.hook.pytest_deselected(items=gone)
    items[:] = sorted((item for item in items if item not in gone), key=_bound_s, reverse=True)


def _bound_s(item: pytest.Item) -> float:
    bound = item.get_closest_marker("timeout")
    return float(bound.args[0]) if bound else 0.0


class OneStack(LoadScopeScheduling):  # type: ignore[misc]
    """The tests of containers share a stack, so one process has them all; any other test goes where there is room."""

    def _split_scope(self, nodeid: str) -> str:
        return "containers" if nodeid.startswith("tests/e2e/compose/") else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneStack:
    return OneStack(config, log)


class StartService(Protocol):
    def __call__(self, workers: int = 2, *, ready: bool = True, **env: str | int | Path | None) -> RunningService: ...


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="module")
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No variable of the service is set, and no `.env` is near."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
            patch.delenv(f"{name.upper()}_FILE", raising=False)
        patch.chdir(tmp_path_factory.mktemp("bare"))
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres"), settings=FAST) as server:
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """A migrated database: copying it takes milliseconds, migrating each anew would not."""
    _execute(postgres.url, "CREATE DATABASE migrated")
    migrate = [sys.executable, "-m", "service", "migrate"]
    subprocess.run(
        migrate, env=os.environ | {"DATABASE_URL": _database(postgres.url, "migrated")}, cwd=ROOT, check=True
    )
    return "migrated"


@pytest.fixture
def database_url(postgres: Postgres, template: str) -> Iterator[str]:
    """An empty, migrated database."""
    if not postgres.running:  # the test before may have left it so
        postgres.start()
    name = f"test_{next(_numbers)}"
    _execute(postgres.url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _database(postgres.url, name)
    if postgres.running:
        _execute(postgres.url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def redis_url(valkey: Valkey) -> str:
    """An empty Redis."""
    if not valkey.running:
        valkey.start()
    with redis_sync.Redis.from_url(valkey.url) as client:
        client.flushall()
    return valkey.url


@pytest.fixture(autouse=True)
def _own_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process counts how long connections are held, and here it has other pools in each test."""
    for stats in (metrics.postgres, metrics.replica):
        monkeypatch.setattr(stats, "held_s", stats.held_s)


@pytest.fixture
async def pg(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(database_url, min_size=0) as pool:
        yield pool


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def start_service(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[StartService]:
    """Starts services that end with the test. Keywords are variables of the service; None takes one away."""
    started: list[RunningService] = []

    def start(workers: int = 2, *, ready: bool = True, **env: str | int | Path | None) -> RunningService:
        backends: Variables = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": free_port()}
        switches: Variables = {"WEB_CONCURRENCY": workers, "LAB_ENABLED": 1, "EXPOSE_WORKER": 1}
        service = _start(tmp_path, backends | switches | env)
        started.append(service)
        if ready:
            service.wait_ready()
        return service

    yield start
    for service in started:
        service.stop(within_s=10)


def _start(folder: Path, env: Variables) -> RunningService:
    """In a folder of its own: neither `.env` nor the state of another service is near."""
    home = folder / f"service-{next(_numbers)}"
    home.mkdir()
    variables = {name: str(value) for name, value in env.items() if value is not None}
    with (home / "log").open("wb") as log:
        process = spawn(
            [sys.executable, "-m", "service", "run"],
            env={"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), **variables},
            cwd=home,
            stdout=log,
            stderr=log,
        )
    return RunningService(process, port=int(variables["PORT"]), log=home / "log")


def _database(url: str, name: str) -> str:
    return f"{url.rpartition('/')[0]}/{name}"


def _execute(url: str, statement: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute())
