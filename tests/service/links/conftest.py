"""The feature inside this process, on real servers: what a worker has, without the worker."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from blockbuster import BlockBuster, blockbuster_ctx
from pydantic import SecretStr

from brigade import resources as resources_module
from brigade.resources import Resources, open_resources
from brigade.sizing import make_plan, read_limits
from brigade.stores import database
from brigade.telemetry.metrics import WorkerStats
from service.features.links import router
from service.settings import Settings
from tests.as_served import as_served
from tests.bare import Bare

MAY_BLOCK = [
    # At start and stop, when there is nobody to wait.
    ("brigade/sizing/limits.py", "read_limits"),
    ("brigade/telemetry/log_writer.py", "_write_here"),
    ("brigade/telemetry/loop_watch/watchdog.py", "stop"),
    # The libraries look for files of their own when they open a connection: a few stats, once each.
    ("asyncpg/connect_utils.py", "_parse_connect_arguments"),
    ("redis/asyncio/connection.py", "make_connection"),
]

OpenClient = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(autouse=True)
def blockbuster() -> Iterator[BlockBuster]:
    """A blocking call of ours inside the event loop is an error."""
    with blockbuster_ctx("service") as watch:
        for function in watch.functions.values():
            for file, caller in MAY_BLOCK:
                function.can_block_in(file, caller)
        yield watch


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is short of CPU must not look like a server that is away."""
    monkeypatch.setattr(database, "ACQUIRE_TIMEOUT_S", 10.0)
    for name in ("ACQUIRE_TIMEOUT_S", "CONNECT_TIMEOUT_S", "REDIS_TIMEOUT_S"):
        monkeypatch.setattr(resources_module, name, 10.0)


@pytest.fixture
def settings(database_url: str, redis_url: str, tmp_path: Path) -> Settings:
    return Settings(database_url=SecretStr(database_url), redis_url=SecretStr(redis_url), state_dir=tmp_path / "state")


@pytest.fixture
async def resources(settings: Settings) -> AsyncIterator[Resources]:
    async with open_resources(settings, make_plan(settings, read_limits()), WorkerStats()) as resources:
        yield resources


@pytest.fixture
def open_client(settings: Settings) -> OpenClient:
    """Another worker at each call; keywords are settings."""

    @asynccontextmanager
    async def open_client(**changes: object) -> AsyncIterator[httpx.AsyncClient]:
        service = Bare(settings.model_copy(update={"access_log_sample": 0.0, **changes}), [router])
        async with service.router.lifespan_context(service) as state:
            transport = httpx.ASGITransport(as_served(service, state))
            async with httpx.AsyncClient(transport=transport, base_url="http://short.example") as client:
                yield client

    return open_client


@pytest.fixture
async def client(open_client: OpenClient) -> AsyncIterator[httpx.AsyncClient]:
    async with open_client() as client:
        yield client
