"""The migrations there are, and those that a database lacks. This module applies nothing.

A feature's migrations are one Alembic branch: `features/<name>/migrations/`, with <name> as branch label and revision
ids that start with `<name>_`. So a database tells a feature that is gone from one that it knows more of than this code.
"""

from collections.abc import Collection, Iterable
from pathlib import Path
from warnings import catch_warnings, simplefilter

from alembic.script import Script, ScriptDirectory
from alembic.util import CommandError as NoOrder

from brigade.cli import CommandError
from brigade.stores.schema import migration_folders

LONGEST_REVISION = 32


def read_scripts(features: Path) -> ScriptDirectory:
    """Every feature's revisions, and the engine's own where a feature has jobs.

    Raises:
        CommandError: The revisions have no order, or one of them does not say whose it is, has nothing to do, or is longer
            than the table that keeps it allows.
    """
    folders = migration_folders(sorted(features.glob("*")))
    scripts = ScriptDirectory(str(features), version_locations=[str(folder) for folder in folders])
    for script in _in_order(scripts):
        if not hasattr(script.module, "upgrade"):
            raise CommandError(f"{script.path}: it has no function upgrade().")
        name = Path(script.path).parent.parent.name
        if script.branch_labels != {name} or not script.revision.startswith(f"{name}_"):
            raise CommandError(
                f"{script.path}: its branch must have the label {name!r}, and its revision must start with '{name}_'."
            )
        if len(script.revision) > LONGEST_REVISION:
            raise CommandError(
                f"{script.path}: its revision {script.revision!r} has {len(script.revision)} characters, and Alembic's "
                f"table has room for {LONGEST_REVISION}: shorten it."
            )
    return scripts


def _in_order(scripts: ScriptDirectory) -> list[Script]:
    """Alembic only warns of two files with one revision, and would apply one of them."""
    try:
        with catch_warnings():
            simplefilter("error", UserWarning)
            return list(scripts.walk_revisions())
    except (NoOrder, UserWarning, AttributeError) as error:
        reason = str(error).rstrip(".")
    raise CommandError(f"The migrations in {scripts.dir} cannot be put in order: {reason}.")


def pending(scripts: ScriptDirectory, heads: Collection[str]) -> list[Script]:
    """Return the migrations to apply, in order, to a database at `heads`.

    A head that no file has is left alone. Either its feature was deleted, or the database is ahead of this code, as
    after a rollback of the service: then nothing of that branch is pending.
    """
    known = {script.revision for script in scripts.walk_revisions()}
    unknown = [head for head in heads if head not in known]
    wanted = scripts.iterate_revisions("heads", tuple(head for head in heads if head in known), implicit_base=True)
    return [script for script in reversed(list(wanted)) if not _is_ahead(script.branch_labels, unknown)]


def _is_ahead(labels: Iterable[str], unknown: Iterable[str]) -> bool:
    return any(head.startswith(f"{label}_") for label in labels for head in unknown)
