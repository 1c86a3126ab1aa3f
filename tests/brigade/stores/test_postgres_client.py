import socket
from datetime import date, datetime, timedelta, timezone

import asyncpg
import pytest

from brigade.stores.postgres_client import connect


def several(url: str, *first: str) -> str:
    """The test's database behind other hosts that come before it in the URL."""
    before, _, after = url.rpartition("@")
    own, _, database = after.partition("/")
    return f"{before}@{','.join([*first, own])}/{database}?target_session_attrs=read-write"


@pytest.mark.anyio
async def test_hosts_that_refuse_or_keep_silent_hold_up_nobody(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        hosts = [f"127.0.0.1:{each.getsockname()[1]}" for each in (silent, refusing)]
        connection = await connect(several(database_url, *hosts), timeout=5)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()


@pytest.mark.anyio
async def test_what_a_server_said_is_told_rather_than_that_another_is_away(database_url: str) -> None:
    wrong = several(database_url.replace("@", "x@"), "127.0.0.1:1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        await connect(wrong, timeout=5)


@pytest.mark.anyio
async def test_wait_ends_where_all_hosts_are_silent() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TimeoutError):
            await connect(f"postgresql://{host},{host}/db?target_session_attrs=primary", timeout=0.3)


DAY, NAIVE = date(2024, 2, 29), datetime(2024, 2, 29, 23, 59, 59, 7)  # noqa: DTZ001 - as a feature may send it
TIMES = {
    "timestamptz": [datetime(2024, 1, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=5.5))), NAIVE, DAY],
    "timestamp": [NAIVE, DAY],
    "date": [DAY, NAIVE],
}


@pytest.mark.anyio
async def test_a_time_is_stored_as_asyncpg_stores_it(database_url: str) -> None:
    ours, plain = await connect(database_url), await asyncpg.connect(database_url)
    for kind, values in TIMES.items():
        for value in values:
            stored = f"SELECT ($1::{kind})::text"
            assert await ours.fetchval(stored, value) == await plain.fetchval(stored, value), (kind, value)
        with pytest.raises(asyncpg.DataError):
            await ours.fetchval(f"SELECT $1::{kind}", "today")
    await ours.close()
    await plain.close()
