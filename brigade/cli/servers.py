"""Asks Postgres and Redis who they are, with patience, before the service relies on them. Writes nothing to them."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar
from uuid import uuid4

import asyncpg
import redis.asyncio as redis
from pydantic import SecretStr
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError, ResponseError

from brigade.cli import CommandError
from brigade.settings import ConfigurationError, Settings
from brigade.settings.postgres_url import FILES, read_postgres_url
from brigade.settings.redis_url import read_redis_url
from brigade.stores.postgres_client import connect
from brigade.stores.redis_client import AnyRedis, open_redis
from brigade.telemetry import logs

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
T = TypeVar("T")

PATIENCE_S = 5.0
"""A server that is started at the same moment is up by then: Postgres takes about 2 s."""
ATTEMPT_S = 2.0
PAUSE_S = 0.25

# Raised while a server starts, restarts or is crowded; any other error is an answer, and asking again changes nothing.
MAY_PASS = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.TooManyConnectionsError,
    redis.ConnectionError,
    redis.TimeoutError,
    asyncpg.TargetServerAttributeNotMatched,  # of several, none is the primary yet
    RedisClusterException,  # none of the nodes that it was given has a cluster to speak of yet
)
REFUSALS = (AuthenticationError, asyncpg.ProtocolViolationError)
UNUSABLE = ("startup parameter", "configuration parameter", "DB index is out of range")
"""Words of a server, or a pooler before it, about a URL that asks for something it does not know."""
UNUSABLE_KINDS = (
    asyncpg.ClientConfigurationError,
    asyncpg.CantChangeRuntimeParamError,
    asyncpg.InvalidParameterValueError,
    asyncpg.PostgresSyntaxError,  # of ?options=
)
FAILURES = (*MAY_PASS, asyncpg.PostgresError, asyncpg.InterfaceError, RedisError, ValueError)

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


class ServerAway(CommandError):
    """A server does not answer, or will not have us now. The service can start without it; other commands cannot."""


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
    _check_files(variable, read.files)

    async def attempt() -> Connection:
        try:
            connection: Connection = await connect(
                dsn,
                timeout=ATTEMPT_S,
                statement_cache_size=0,  # a pooler may give each statement to another session
                server_settings={"application_name": name, **(options or {})},
            )
        except (FileNotFoundError, PermissionError):
            variables = [f"PG{name.upper()}" for name in FILES if name not in read.files]
            _check_files("The environment", {name: os.environ[name] for name in variables if os.environ.get(name)})
            raise
        return connection

    connection = await _patiently(attempt, server=server, patience_s=patience_s)
    try:
        yield connection
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise ServerAway(f"{server} failed: {_line(error)}.") from None
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


async def ask_redis(client: AnyRedis) -> dict[str, dict[str, Any]]:
    """Return the answers to INFO by server, of each primary of a cluster, or nothing if INFO is forbidden."""
    try:
        if isinstance(client, redis.RedisCluster):
            return dict(await client.info(target_nodes=redis.RedisCluster.PRIMARIES))
        return {"": dict(await client.info())}
    except ResponseError:
        return {}


async def with_redis(
    ask: Callable[[AnyRedis], Awaitable[T]], settings: Settings, *, name: str, patience_s: float = PATIENCE_S
) -> T:
    """Return the result of `ask` for a client that has connected.

    Raises: as `session`.
    """
    if settings.redis_url is None:
        raise ConfigurationError("REDIS_URL is not set: give it a Redis or Valkey, redis://host:port/0.")
    dsn = settings.redis_url.get_secret_value()

    async def attempt() -> T:
        client = open_redis(dsn, connections=1, timeout_s=ATTEMPT_S, socket_timeout=ATTEMPT_S, client_name=name)
        try:
            await client.ping()
            return await ask(client)
        finally:
            await client.aclose()

    read = read_redis_url(dsn)
    _check_files("REDIS_URL", read.files)
    server = f"REDIS_URL: Redis{_at(read.nodes)}"
    return await _patiently(attempt, server=server, patience_s=patience_s)


async def _patiently(attempt: Callable[[], Awaitable[T]], *, server: str, patience_s: float) -> T:
    deadline, told = time.monotonic() + patience_s, patience_s <= PAUSE_S
    while True:
        try:
            return await attempt()
        except FAILURES as error:
            if type(error) is ValueError:  # its text may quote the password that made the URL unreadable
                raise CommandError(
                    f"{server} has a URL that cannot be read: in a password, @ / # are %40 %2F %23."
                ) from None
            if not isinstance(error, MAY_PASS) or isinstance(error, REFUSALS):
                raise _refusal(error)(f"{server} refuses: {_line(error)}.") from None
            if time.monotonic() + PAUSE_S > deadline:
                raise ServerAway(f"{server} does not answer: {_line(error)}.") from None
        if not told:
            _announce_wait(server.partition(": ")[2])
            told = True
        await asyncio.sleep(PAUSE_S)


def _refusal(error: Exception) -> type[CommandError]:
    """A refused login passes when somebody corrects the server; a URL that cannot be used does not."""
    is_unusable = isinstance(error, UNUSABLE_KINDS) or any(word in str(error) for word in UNUSABLE)
    return CommandError if is_unusable else ServerAway


def _announce_wait(server: str) -> None:
    """Say so on stderr, in `run` as a line of its log."""
    if not logs.write_on_stderr("info", "waiting for a server", server=server):
        print(f"waiting for {server} ...", file=sys.stderr, flush=True)


def _at(servers: Sequence[tuple[str, int]]) -> str:
    return f" at {', '.join(f'{host}:{port}' for host, port in servers)}" if servers else ""


def _check_files(variable: str, files: Mapping[str, str]) -> None:
    """A certificate that is not there would look like a server that is not."""
    for name, path in files.items():
        try:
            Path(path).open("rb").close()
        except OSError as error:
            raise ConfigurationError(
                f"{variable} names {name} {path}, which cannot be read: {error.strerror}."
            ) from None


def _line(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return f"{line}; if it is a pooler, set DATABASE_POOLED" if "startup parameter" in line else line
