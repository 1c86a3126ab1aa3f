"""Fixtures for the tests of a service: a database and a Redis of a test's own, a client, and the service as processes.

A project's `conftest.py` says where the servers are and what is tested, by two fixtures: `servers` and `create_app`.
Every database and every Redis is empty; a database is migrated. docs/engine.md has an example.
"""

import asyncio
import itertools
import logging
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import asyncpg
import httpx
import pytest
import redis as redis_sync
import structlog
from redis.asyncio import Redis
from starlette.types import ASGIApp, Receive, Scope, Send

from brigade.app import Brigade
from brigade.testing.ports import free_port
from brigade.testing.running import RunningService

__all__ = ["CreateApp", "RunningService", "Servers", "StartService", "new_database"]

CreateApp = Callable[..., Brigade]
_numbers = itertools.count()
_templates: dict[str, str] = {}
"""The migrated database of each server: to copy it takes milliseconds."""


@dataclass(frozen=True)
class Servers:
    """A Postgres in which databases may be created, and a Redis that may be emptied."""

    database_url: str
    redis_url: str


class StartService(Protocol):
    def __call__(self, workers: int = 2, *, ready: bool = True, **env: str | int | Path | None) -> RunningService: ...


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"use_uvloop": True}


@contextmanager
def new_database(servers: Servers, create_app: CreateApp) -> Iterator[str]:
    """Copy the migrated, empty database, for a fixture of any scope."""
    template = _templates.get(servers.database_url) or _migrate(servers.database_url, package_of(create_app))
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _execute(servers.database_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    yield _database(servers.database_url, name)
    with suppress(OSError, asyncpg.PostgresError):  # a test may have stopped the server
        _execute(servers.database_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database_url(servers: Servers, create_app: CreateApp) -> Iterator[str]:
    """An empty, migrated database."""
    with new_database(servers, create_app) as url:
        yield url


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """An empty Redis."""
    with redis_sync.Redis.from_url(servers.redis_url) as client:
        client.flushall()
    return servers.redis_url


@pytest.fixture
async def pg(database_url: str) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(database_url, min_size=0) as pool:
        yield pool


@pytest.fixture
async def redis(redis_url: str) -> AsyncIterator[Redis]:
    async with Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def backends(database_url: str, redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Variables that lead to servers and a folder of the test's own. The working directory has no `.env`."""
    monkeypatch.chdir(tmp_path)
    return {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "STATE_DIR": str(tmp_path / "state")}


@pytest.fixture
def variables() -> dict[str, str]:
    """Variables for `app`. A test has others by `@pytest.mark.parametrize("variables", [{"API_KEYS": "a:secret"}])`."""
    return {}


@pytest.fixture
def app(
    backends: dict[str, str], variables: dict[str, str], create_app: CreateApp, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Brigade]:
    """The service in this process. Logging is afterwards as it was."""
    root, configured = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers, root.level
    for name, value in (backends | variables).items():
        monkeypatch.setenv(name, value)
    yield create_app()
    root.handlers = handlers
    root.setLevel(level)
    structlog.configure(**configured)


@pytest.fixture
async def client(app: Brigade) -> AsyncIterator[httpx.AsyncClient]:
    """Asks `app` without a socket in between."""
    async with app.router.lifespan_context(app) as state:
        transport = httpx.ASGITransport(_with_state(app, dict(state or {})))
        async with httpx.AsyncClient(transport=transport, base_url="http://service.example") as client:
            yield client


@pytest.fixture
def start_service(database_url: str, redis_url: str, create_app: CreateApp, tmp_path: Path) -> Iterator[StartService]:
    """Starts services that end with the test. Keywords are variables of the service; None takes one away."""
    started: list[RunningService] = []

    def start(workers: int = 2, *, ready: bool = True, **env: str | int | Path | None) -> RunningService:
        backends: dict[str, Any] = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": free_port()}
        switches = {"WEB_CONCURRENCY": workers, "LAB_ENABLED": 1, "EXPOSE_WORKER": 1}
        package, home = package_of(create_app), tmp_path / f"service-{next(_numbers)}"
        service = RunningService.start(package, root_of(package), home=home, variables=backends | switches | env)
        started.append(service)
        if ready:
            service.wait_ready()
        return service

    yield start
    for service in started:
        service.stop(within_s=10)


def package_of(create_app: CreateApp) -> str:
    """The package whose `__main__` is the command line of what is tested."""
    return create_app.__module__.partition(".")[0]


def root_of(package: str) -> Path:
    """The folder that has `package`."""
    file = sys.modules[package].__file__
    assert file is not None
    return Path(file).parents[1]


def _with_state(app: ASGIApp, state: dict[str, Any]) -> ASGIApp:
    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    return with_state


def _migrate(server_url: str, package: str) -> str:
    template = f"migrated_{os.getpid()}"
    _execute(server_url, f"CREATE DATABASE {template}")
    env = os.environ | {"DATABASE_URL": _database(server_url, template), "PYTHONPATH": str(root_of(package))}
    subprocess.run([sys.executable, "-m", package, "migrate"], env=env, cwd=root_of(package), check=True)
    _templates[server_url] = template
    return template


def _database(server_url: str, name: str) -> str:
    base, mark, options = server_url.partition("?")
    return f"{base.rpartition('/')[0]}/{name}{mark}{options}"


def _execute(url: str, statement: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(execute())
