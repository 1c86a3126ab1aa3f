"""Connects to Postgres, also where the URL names several servers of which one is silent."""

import asyncio
from asyncio.staggered import staggered_race
from functools import partial
from typing import Any

import asyncpg

from brigade.settings.postgres_url import read_postgres_url
from brigade.stores.postgres_errors import FORGOTTEN, has_lost_statements
from brigade.stores.postgres_times import read_any_time

NEXT_HOST_AFTER_S = 0.2
"""A server in the same zone has taken a connection in 20 ms. asyncpg itself waits for a silent one as long as it may, and
asks no other."""


class Session(asyncpg.Connection):
    """A connection that prepares a statement again that its session has lost. Nothing was done then, so outside of a
    transaction nobody notices. `executemany` is not asked again, because its arguments may be used up.
    """

    async def _execute(self, *query: Any, **options: Any) -> Any:
        try:
            return await super()._execute(*query, **options)  # type: ignore[misc]  # asyncpg-stubs has the public ones
        except FORGOTTEN as error:
            if not has_lost_statements(error):
                raise
            await self.reload_schema_state()
            if self.is_in_transaction():
                raise
            return await super()._execute(*query, **options)  # type: ignore[misc]


async def connect(dsn: str | None = None, *, timeout: float = 60, **options: Any) -> Any:  # noqa: ASYNC109 - asyncpg's
    """Return a connection that reads every time that Postgres has.

    Raises: as asyncpg.connect.
    """
    connection = await _connect(dsn, timeout=timeout, **options)
    await read_any_time(connection)
    return connection


async def _connect(dsn: str | None, *, timeout: float, **options: Any) -> Any:  # noqa: ASYNC109 - asyncpg's
    """Connect to whichever server answers first that is what `target_session_attrs` asks for; each is asked when the one before
    it has refused, or has kept silent for a moment.
    """
    url = read_postgres_url(dsn or "")
    hosts = url.hosts
    if len(hosts) < 2:
        if hosts:  # asyncpg would take what follows a colon in the folder of a socket for a port
            (options["host"], options["port"]) = hosts[0]
        return await asyncpg.connect(url.dsn, timeout=timeout, **options)
    dsn = url.dsn
    calls = [partial(asyncpg.connect, dsn, host=host, port=port, timeout=timeout, **options) for host, port in hosts]
    async with asyncio.timeout(timeout):
        connection, _, errors = await staggered_race(calls, NEXT_HOST_AFTER_S)
    if connection is None:
        raise max(filter(None, errors), key=lambda error: isinstance(error, asyncpg.PostgresError))  # what was answered
    return connection
