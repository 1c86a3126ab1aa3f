"""The migrations that this code has, and whether a database lacks one of them. Applies nothing, and does without Alembic,
which would cost each worker the memory of SQLAlchemy.
"""

import ast
import asyncio
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from asyncpg import exceptions as pg

from brigade.errors import SchemaBehind
from brigade.stores.postgres_errors import POSTGRES_FAILURES
from brigade.stores.refusals import note_refusal

ENGINE = Path(__file__).parents[1] / "migrations"
"""The tables that jobs are in: the branch `brigade`."""
LOOK_WITHIN_S = 0.3
REMEMBERED_S = 2.0
UNFIT = (
    asyncpg.SyntaxOrAccessError,  # no such table, column, function, type, or constraint to conflict with
    pg.InvalidSchemaNameError,
    pg.InvalidTextRepresentationError,  # a value that the enumeration does not have yet
    pg.NotNullViolationError,
    pg.CheckViolationError,
)
"""Errors that a statement may meet in a schema that it was not written for."""


@dataclass(frozen=True)
class Revision:
    branch: str
    needs: tuple[str, ...]
    """Names of the revisions before it, and of those that it depends on. A name may be a label, with which revisions begin."""


class Schema:
    revisions: dict[str, Revision]
    is_known: bool
    """Whether the files say which revisions there are, without being run."""

    def __init__(self, features: Iterable[Path] = ()) -> None:
        self.expect(features)

    def expect(self, features: Iterable[Path]) -> None:
        """Read the migrations of the features in these folders.

        Where one computes its revision, or cannot be read, nobody knows what is lacking, and nothing is expected.
        """
        files = [file for folder in migration_folders(features) for file in sorted(folder.glob("*.py"))]
        try:
            self.revisions = dict(found for file in files if (found := _revision_in(file)))
        except (OSError, SyntaxError, ValueError):
            self.revisions = {}
        self.is_known = bool(self.revisions) or not files
        self._looked_at = -REMEMBERED_S
        self._lacking: list[str] = []

    def lacking(self, heads: Collection[str]) -> list[str]:
        """Return the revisions that a database at `heads` lacks.

        A head that no file has means that the database is ahead in that branch, as after a rollback of the service.
        """
        applied: set[str] = set()
        found = [head for head in heads if head in self.revisions]
        while found:
            applied.add(revision := found.pop())
            found += [name for need in self.revisions[revision].needs for name in self._named(need) - applied]
        ahead = [head for head in heads if head not in self.revisions]
        return [
            name
            for name, revision in self.revisions.items()
            if name not in applied and not any(head.startswith(f"{revision.branch}_") for head in ahead)
        ]

    def _named(self, need: str) -> set[str]:
        need = need.partition("@")[0]
        return {need} & self.revisions.keys() or {name for name in self.revisions if name.startswith(f"{need}_")}

    async def check(self, connection: Any) -> None:
        """Ask the database which revisions it is at.

        Raises:
            SchemaBehind: the database lacks a migration of this code.
        """
        try:
            heads = await read_heads(connection)
        except asyncpg.InsufficientPrivilegeError:  # the start has seen it, and nobody else has to
            return
        self._looked_at, self._lacking = time.monotonic(), self.lacking(heads)
        if self._lacking:
            raise SchemaBehind("Its migrations have to be applied first.")

    async def explain(self, error: Exception, connection: Any) -> SchemaBehind | None:
        """Return what to raise for a statement that the database could not carry out because it lacks a migration.

        None means that the statement itself is wrong. The `connection` that met the error asks; what it learns of a
        schema that is behind holds for 2 s.
        """
        if not isinstance(error, UNFIT):
            return None
        if not self._lacking or time.monotonic() - self._looked_at >= REMEMBERED_S:
            try:
                async with asyncio.timeout(LOOK_WITHIN_S):
                    await self.check(connection)
            except SchemaBehind:
                pass
            except POSTGRES_FAILURES:
                return None
        if not self._lacking:
            return None
        text = f"the database lacks {', '.join(self._lacking)}: run its migrations ({error})"
        note_refusal("postgres", "SchemaBehind", RuntimeError(text))
        return SchemaBehind("Its migrations have to be applied first.")


def migration_folders(features: Iterable[Path]) -> list[Path]:
    """Return those of the features in these folders, and the engine's own where one of them has jobs."""
    features = list(features)
    folders = [folder for feature in features if (folder := feature / "migrations").is_dir()]
    return [*folders, ENGINE] if any((feature / "jobs.py").exists() for feature in features) else folders


async def read_heads(connection: Any) -> list[str]:
    """Return the last revision of each branch that a database has; none where nothing was ever applied."""
    try:
        return [row[0] for row in await connection.fetch("SELECT version_num FROM alembic_version")]
    except asyncpg.UndefinedTableError:
        return []


def _revision_in(file: Path) -> tuple[str, Revision] | None:
    """Read what the file assigns to Alembic's names. It is not run, because migrations import what workers do without."""
    assigned: dict[str, Any] = {}
    for statement in ast.parse(file.read_bytes()).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.expr() as value):
                assigned[name] = value
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                assigned[name] = value
    if "revision" not in assigned:
        return None
    needs = [need for name in ("down_revision", "depends_on") if name in assigned for need in _names(assigned[name])]
    return ast.literal_eval(assigned["revision"]), Revision(file.parent.parent.name, tuple(needs))


def _names(value: ast.expr) -> list[str]:
    named = ast.literal_eval(value)
    return [named] if isinstance(named, str) else list(named or ())


schema = Schema()
"""The schema that the code of this process was written for."""
