"""The patience with which commands ask a server, and the sentence in which they give up."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import asyncpg
import redis.asyncio as redis
from redis.exceptions import AuthenticationError, RedisClusterException, RedisError

from brigade.cli import CommandError
from brigade.settings import ConfigurationError
from brigade.telemetry import logs

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


class ServerAway(CommandError):
    """A server does not answer, or will not have us now. The service can start without it; other commands cannot."""


async def patiently(attempt: Callable[[], Awaitable[T]], *, server: str, patience_s: float) -> T:
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
                raise _refusal(error)(f"{server} refuses: {line_of(error)}.") from None
            if time.monotonic() + PAUSE_S > deadline:
                raise ServerAway(f"{server} does not answer: {line_of(error)}.") from None
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


def check_files(variable: str, files: Mapping[str, str]) -> None:
    """A certificate that is not there would look like a server that is not."""
    for name, path in files.items():
        try:
            Path(path).open("rb").close()
        except OSError as error:
            raise ConfigurationError(
                f"{variable} names {name} {path}, which cannot be read: {error.strerror}."
            ) from None


def line_of(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
    return f"{line}; if it is a pooler, set DATABASE_POOLED" if "startup parameter" in line else line
