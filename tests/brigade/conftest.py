import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from brigade.resources import Resources, open_resources
from brigade.settings import Settings
from brigade.sizing import make_plan, read_limits
from brigade.telemetry.metrics import WorkerStats
from tests.brigade.receiver import Receiver


@pytest.fixture
async def resources(database_url: str, redis_url: str, tmp_path: Path) -> AsyncIterator[Resources]:
    settings = Settings(
        database_url=SecretStr(database_url),
        redis_url=SecretStr(redis_url),
        state_dir=tmp_path,
        request_timeout_s=1.5,
        db_connection_budget=8,
        web_concurrency=2,
    )
    async with open_resources(settings, make_plan(settings, read_limits()), WorkerStats()) as resources:
        yield resources


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
