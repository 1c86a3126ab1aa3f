"""As many clicks in Postgres as visitors were answered: with Gunicorn, over sockets, whoever is killed meanwhile."""

import asyncio
import os
import signal
import time
from pathlib import Path

import asyncpg
import psutil
import pytest

from local.servers import Postgres, Valkey
from tests.conftest import StartService
from tests.visitors import Visitors

pytestmark = [pytest.mark.anyio, pytest.mark.drives("links")]

CODES = [f"link-{number}" for number in range(20)]


@pytest.fixture
async def codes(database_url: str) -> list[str]:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "INSERT INTO links (code, url) SELECT code, 'http://example.com/' FROM unnest($1::text[]) AS code", CODES
    )
    await connection.close()
    return CODES


def connections(pid: int) -> int:
    return len(psutil.Process(pid).net_connections())


async def clicks(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        return int(await connection.fetchval("SELECT sum(clicks) FROM links"))
    finally:
        await connection.close()


async def reach(database_url: str, expected: int, *, within_s: float) -> float:
    """Seconds until so many clicks were in Postgres; none comes after them."""
    began = time.monotonic()
    while (found := await clicks(database_url)) < expected:
        assert time.monotonic() < began + within_s, f"{found} clicks of {expected} answers"
        await asyncio.sleep(0.05)
    took_s = time.monotonic() - began
    await asyncio.sleep(1.5)
    assert await clicks(database_url) == expected
    return took_s


async def test_every_answer_is_a_click_within_five_seconds(
    start_service: StartService, database_url: str, codes: list[str]
) -> None:
    service = start_service(workers=4, ACCESS_LOG_SAMPLE="0.5")
    visitors = Visitors(service.port, codes, visits=10_000)
    await visitors.follow(clients=64)
    assert visitors.answered == 10_000
    await reach(database_url, 10_000, within_s=5)


async def test_a_killed_worker_loses_and_doubles_nothing(
    start_service: StartService, database_url: str, codes: list[str]
) -> None:
    service = start_service(workers=4, ACCESS_LOG_SAMPLE="0.5")
    visitors = Visitors(service.port, codes, visits=10_000)
    following = asyncio.create_task(visitors.follow(clients=64))
    await visitors.half_done.wait()
    os.kill(max(service.worker_pids(), key=connections), signal.SIGKILL)
    await following
    assert visitors.broken
    await reach(database_url, visitors.answered, within_s=5)


async def test_servers_that_crash_lose_and_double_nothing(
    start_service: StartService, database_url: str, codes: list[str], postgres: Postgres, valkey: Valkey
) -> None:
    """Redis may lose what it has not written to disk yet: its second passes before it is killed."""
    service = start_service(workers=2, ACCESS_LOG_SAMPLE="0.5")
    visitors = Visitors(service.port, codes, visits=3000)
    await visitors.follow(clients=16)
    postgres.kill()
    visitors.left = 3000
    await visitors.follow(clients=16)
    await asyncio.sleep(1.5)
    valkey.kill()
    postgres.start()
    visitors.left = 3000
    await visitors.follow(clients=16)
    valkey.start()
    visitors.left = 3000
    await visitors.follow(clients=16)
    assert visitors.answered == 12_000
    await reach(database_url, 12_000, within_s=20)


async def test_a_service_killed_as_a_whole_has_its_clicks_counted_when_it_comes_back(
    start_service: StartService, database_url: str, codes: list[str], tmp_path: Path
) -> None:
    service = start_service(workers=2, STATE_DIR=tmp_path / "kept")
    visitors = Visitors(service.port, codes, visits=2000)
    following = asyncio.create_task(visitors.follow(clients=16))
    await visitors.half_done.wait()
    service.kill()
    visitors.stopped = True
    await following
    start_service(workers=1, STATE_DIR=tmp_path / "kept")
    await reach(database_url, visitors.answered, within_s=10)
