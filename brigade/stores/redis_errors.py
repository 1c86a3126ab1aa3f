"""The meaning of an error of Redis: it does not answer, it refuses, or we asked it something that makes no sense."""

import re

from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterError,
    InvalidResponse,
    ReadOnlyError,
    RedisClusterException,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

NO_ANSWER = (
    OSError,
    TimeoutError,
    RedisConnectionError,  # also LOADING, NOAUTH and WRONGPASS
    RedisTimeoutError,
    InvalidResponse,
    ReadOnlyError,  # a fail-over left us at a replica
    RedisClusterException,
    ClusterError,
    AskError,
    TryAgainError,  # the last two: a cluster whose slots are on the move
)
"""Errors that the breaker counts: asking this server again at once is of no use."""

REDIS_FAILURES = (*NO_ANSWER, ResponseError)
"""Everything that Redis, or the way to it, can be the cause of. `DataError` and its like are our own mistakes."""

KNOWN_REFUSALS = {"BUSY", "EXECABORT", "MISCONF", "NOAUTH", "NOPERM", "NOREPLICAS", "OOM", "READONLY", "WRONGPASS"}
"""Codes that a server answers because of its own state or settings. Any other code may be a defect of ours."""

MISTAKES = ("wrong number of arguments", "syntax error", "Error compiling script", "Number of keys can't be")
"""Words of Redis about a command that no server would accept."""

_code = re.compile(r"(?:Command # .* caused error: \W*)?([A-Z]{2,})\b").match


def is_mistake(error: BaseException) -> bool:
    """Whether the command itself is wrong, so that the caller has to be fixed and not Redis."""
    return isinstance(error, ClusterCrossSlotError) or (
        isinstance(error, ResponseError) and any(mistake in str(error) for mistake in MISTAKES)
    )


def code_of(error: BaseException) -> str:
    """The word by which Redis names the error, `MISCONF` for example; a pipeline puts its own words before it."""
    if isinstance(error, AuthenticationError):
        return getattr(error, "status_code", None) or "NOAUTH"
    if (status := getattr(error, "status_code", None)) and status != "ERR":
        return str(status)
    found = _code(str(error))
    return found[1] if found else "ERR"
