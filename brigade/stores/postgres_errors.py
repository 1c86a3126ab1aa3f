"""The meaning of an error of Postgres: the session is lost, the server will not do it now, it refuses, or we made a mistake."""

from enum import Enum, auto

import asyncpg
from asyncpg import exceptions as pg

POSTGRES_FAILURES = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
"""Everything that Postgres, the way to it or a wrong use of asyncpg can raise. While a connection is opened no statement
of ours has run, so there each of them means that Postgres is not available."""

LOST = (
    asyncpg.PostgresConnectionError,
    pg.AdminShutdownError,
    pg.CrashShutdownError,
    pg.DatabaseDroppedError,
    pg.IdleSessionTimeoutError,
    pg.IdleInTransactionSessionTimeoutError,
    pg.TransactionTimeoutError,
)

NOT_NOW = (
    TimeoutError,
    pg.OutdatedSchemaCacheError,  # a migration has changed a type or a table
    pg.InvalidCachedStatementError,  # the same, in the middle of a transaction
    pg.OperatorInterventionError,  # a statement timeout; a server that starts or stops
    pg.ReadOnlySQLTransactionError,  # a fail-over left us at a replica
    pg.TransactionRollbackError,  # a deadlock, a serialization failure, a conflict with replay on a standby
    pg.LockNotAvailableError,
)

REFUSED = (
    pg.InsufficientPrivilegeError,
    pg.InvalidAuthorizationSpecificationError,  # a wrong password, a role that is gone, a rule of pg_hba.conf
    pg.InvalidCatalogNameError,  # a database that is gone
    pg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    pg.PostgresSystemError,  # files of the server that cannot be read or written
    pg.InternalServerError,  # a defect of the server, or damaged data
)


FORGOTTEN = (pg.InvalidSQLStatementNameError, pg.DuplicatePreparedStatementError)


def has_lost_statements(error: BaseException) -> bool:
    """Whether the session no longer has the statements that asyncpg prepared in it, as after `DISCARD ALL`, or has those
    of another client, as behind a pooler. asyncpg would use them without end.
    """
    return isinstance(error, FORGOTTEN) and "__asyncpg_" in str(error)


class Meaning(Enum):
    LOST = auto()
    """The session has ended. Nobody knows whether the statement was carried out."""
    NOT_NOW = auto()
    """The same statement may succeed later: a busy server says so now and then."""
    REFUSED = auto()
    """Somebody has to repair the server, or grant us rights."""
    MISTAKE = auto()
    """A defect in the calling code: a wrong argument, wrong SQL, or an error that has nothing to do with Postgres."""


def meaning_of(error: BaseException, *, session_ended: bool) -> Meaning:
    """Tell the failures of the server from mistakes of the caller.

    asyncpg raises the same class for a session that has ended as for a wrong call ("another operation is in progress"),
    and an `OSError` may come from a file that the caller opened, so for those the state of the session decides.
    """
    if isinstance(error, LOST) or has_lost_statements(error):
        return Meaning.LOST
    if isinstance(error, NOT_NOW):
        return Meaning.NOT_NOW
    if isinstance(error, REFUSED):
        return Meaning.REFUSED
    if isinstance(error, asyncpg.InternalClientError):
        return Meaning.LOST  # the server ended the session at the very moment of its next statement
    is_argument = isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError)  # asyncpg's own DataError
    if session_ended and isinstance(error, OSError | asyncpg.InterfaceError) and not is_argument:
        return Meaning.LOST
    return Meaning.MISTAKE
