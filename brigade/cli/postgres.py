"""Asks Postgres who it is, before the service relies on it. Writes nothing to it."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias
from uuid import uuid4

import asyncpg
from pydantic import SecretStr

from brigade.cli.patience import ATTEMPT_S, PATIENCE_S, ServerAway, check_files, line_of, patiently
from brigade.settings import ConfigurationError, Settings
from brigade.settings.postgres_url import FILES, read_postgres_url
from brigade.stores.postgres_client import connect

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

ASK_POSTGRES = """
SELECT current_setting('server_version') AS version,
       current_setting('max_connections')::int AS max_connections,
       current_setting('superuser_reserved_connections')::int
           + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved,
       pg_is_in_recovery() AS read_only,
       current_setting('statement_timeout') <> '0' AS bounded,
       current_setting('server_encoding') AS encoding,
       pg_backend_pid() <> $1 AS pooled
"""


@dataclass(frozen=True)
class PostgresFacts:
    version: str
    max_connections: int
    reserved: int
    """Connections that only superusers, and members of pg_use_reserved_connections, can have."""
    read_only: bool
    bounded: bool
    """Statements have a deadline there."""
    encoding: str
    """The database stores text in it."""
    pooled: bool
    """A pooler accepted the connection, and another server answered."""
    keeps_statements: bool


@asynccontextmanager
async def session(
    settings: Settings,
    variable: str = "DATABASE_URL",
    *,
    name: str,
    patience_s: float = PATIENCE_S,
    options: Mapping[str, str] | None = None,
) -> AsyncIterator[Connection]:
    """A Postgres session that pg_stat_activity shows under `name`.

    Raises:
        ServerAway: the server did not answer in `patience_s`, will not have us, or went away.
        CommandError: it does not know what the URL asks for.
        ConfigurationError: there is no URL.
    """
    url: SecretStr | None = getattr(settings, variable.lower())
    if url is None:
        raise ConfigurationError(
            f"{variable} is not set: give it a Postgres, postgresql://user:password@host:port/database."
        )
    dsn = url.get_secret_value()
    read = read_postgres_url(dsn)
    server = f"{variable}: Postgres{read.places}"
    check_files(variable, read.files)

    async def attempt() -> Connection:
        try:
            connection: Connection = await connect(
                dsn,
                timeout=ATTEMPT_S,
                statement_cache_size=0,  # a pooler may give each statement to another session
                server_settings={"application_name": name, **(options or {})},
            )
        except (FileNotFoundError, PermissionError):  # libpq's own variables may name files, too
            variables = [f"PG{name.upper()}" for name in FILES if name not in read.files]
            check_files("The environment", {name: os.environ[name] for name in variables if os.environ.get(name)})
            raise
        return connection

    connection = await patiently(attempt, server=server, patience_s=patience_s)
    try:
        yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise ServerAway(f"{server} failed: {line_of(error)}.") from None
    finally:
        await connection.close(timeout=ATTEMPT_S)


async def ask_postgres(connection: Connection) -> PostgresFacts:
    facts = await connection.fetchrow(ASK_POSTGRES, connection.get_server_pid())
    assert facts is not None
    return PostgresFacts(**facts, keeps_statements=not facts["pooled"] or await _keeps_statements(connection))


async def _keeps_statements(connection: Connection) -> bool:
    """Whether a pooler keeps the prepared statements of its clients apart: Postgres then knows ours by another name."""
    name = f"service_{uuid4().hex}"
    try:
        statement = await connection.prepare("SELECT name FROM pg_prepared_statements", name=name)
        return name not in [row["name"] for row in await statement.fetch()]
    except asyncpg.InvalidSQLStatementNameError:  # another session, which has not heard of it
        return False
