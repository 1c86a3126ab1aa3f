"""`python -m service migrate`: applies what is pending, once, however many copies of it run. Workers never migrate."""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import sqlalchemy
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationStep
from alembic.script import Script, ScriptDirectory
from sqlalchemy.exc import StatementError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from brigade.cli import CommandError, Project
from brigade.cli.postgres import Connection, ask_postgres, session
from brigade.cli.schema import pending, read_scripts
from brigade.settings import ConfigurationError, load_settings
from brigade.stores.schema import read_heads

LOCK = 0x6272_6967_6164_65
"""Any number will do, so long as every copy has the same and no other program has it: this one spells "brigade"."""

BOUNDS = {
    # While a DDL waits for its lock, every later query on the table waits behind it: give up soon, and try later.
    "lock_timeout": "5s",
    # Long enough to build an index on a large table, and bounded.
    "statement_timeout": "10min",
}
PATIENCE_S = 30.0
"""A deployment waits for this one command, maybe beside a Postgres that starts on a busy machine."""
TURN_S = 600.0
"""How long to wait for another copy: as long as its longest statement may take."""


def main(project: Project, *, check: bool) -> int:
    return asyncio.run(_check(project) if check else _migrate(project))


async def _check(project: Project) -> int:
    async with _session(project) as connection:
        lacking = pending(read_scripts(project.features), await read_heads(connection))
    for script in lacking:
        print(f"pending {script.revision}: {script.doc}")
    print(f"{len(lacking)} pending." if lacking else "The schema is up to date.")
    return 1 if lacking else 0


async def _migrate(project: Project) -> int:
    scripts = read_scripts(project.features)
    async with _session(project) as connection:
        if (await ask_postgres(connection)).pooled:
            raise ConfigurationError(
                "Migrations need a session of their own, and a pooler answers: set MIGRATION_DATABASE_URL to the server "
                "behind it."
            )
        for name, value in BOUNDS.items():
            await connection.execute("SELECT set_config($1, $2, false)", name, value)
        await _take_turn(connection)
        lacking = pending(scripts, await read_heads(connection))
        if lacking:
            await _apply(connection, scripts, lacking)
    print(f"{len(lacking)} applied." if lacking else "The schema is up to date.")
    return 0


@asynccontextmanager
async def _session(project: Project) -> AsyncIterator[Connection]:
    settings = load_settings(project.settings)
    variable = "MIGRATION_DATABASE_URL" if settings.migration_database_url else "DATABASE_URL"
    async with session(settings, variable, name="service.migrate", patience_s=PATIENCE_S) as connection:
        yield connection


async def _take_turn(connection: Connection) -> None:
    """Hold the advisory lock until the session ends.

    This asks repeatedly. A session that waited inside `pg_advisory_lock` would keep a snapshot, and an index that the
    holder of the lock builds concurrently would wait for that snapshot without end.
    """
    deadline, told = time.monotonic() + TURN_S, False
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", LOCK):
        if time.monotonic() > deadline:
            raise CommandError(
                f"Another migration has run for {TURN_S:g} s: pg_stat_activity has it as service.migrate."
            )
        if not told:
            print("waiting for another migration to end ...", file=sys.stderr, flush=True)
            told = True
        await asyncio.sleep(0.1)


async def _apply(connection: Connection, scripts: ScriptDirectory, lacking: list[Script]) -> None:
    """Each in a transaction of its own, over the session that holds the lock: were it lost, so would be the work."""
    at = lacking[0]

    def steps(*_: object) -> Iterator[MigrationStep]:
        nonlocal at
        for at in lacking:
            yield MigrationStep.upgrade_from_script(scripts.revision_map, at)
            print(f"applied {at.revision}: {at.doc}", flush=True)

    def upgrade(alchemy: sqlalchemy.Connection) -> None:
        with EnvironmentContext(Config(), scripts, fn=steps) as environment:
            environment.configure(connection=alchemy, transaction_per_migration=True)
            with environment.begin_transaction():
                environment.run_migrations()

    async def same() -> Connection:
        return connection

    engine = create_async_engine("postgresql+asyncpg://", async_creator=same, poolclass=NullPool)
    try:
        async with engine.connect() as alchemy:
            await alchemy.run_sync(upgrade)
    except StatementError as error:
        raise CommandError(f"{at.revision} failed and was rolled back ({at.path}): {error.orig or error}") from None
