"""`python -m service jobs`: shows dead jobs, and with `retry ID ...` queues them again."""

import asyncio
from collections.abc import Sequence

import asyncpg

from brigade.cli import CommandError, Project
from brigade.cli.postgres import Connection, session
from brigade.cli.run import check_schema, lacking_revisions
from brigade.jobs import rows
from brigade.settings import load_settings
from brigade.stores.schema import UNFIT, read_heads
from brigade.telemetry.rendering import printable


def main(project: Project, *, words: Sequence[str]) -> int:
    if not project.has_jobs:
        raise CommandError("No feature has a jobs.py, so there are no jobs.")
    ids = _ids(words)
    return asyncio.run(_main(project, ids))


def _ids(words: Sequence[str]) -> list[int]:
    if not words:
        return []
    if words[0] != "retry" or len(words) < 2 or not all(word.isdecimal() for word in words[1:]):
        raise CommandError("Ask for `jobs`, which lists dead jobs, or `jobs retry ID ...`.")
    return [int(word) for word in words[1:]]


def _can_be(job_id: int) -> bool:
    """Whether Postgres has numbers of this size."""
    return job_id < 2**63


async def _main(project: Project, ids: list[int]) -> int:
    async with session(load_settings(project.settings), name="service.jobs") as connection:
        try:
            return await (_retry(connection, ids) if ids else _show(connection))
        except UNFIT:
            check_schema(lacking_revisions(project.features, await read_heads(connection)), project.command)
            raise


async def _retry(connection: Connection, ids: list[int]) -> int:
    retried = []
    for job_id in ids:
        try:
            if _can_be(job_id) and await connection.fetchval(rows.RETRY, job_id) is not None:
                retried.append(job_id)
        except asyncpg.UniqueViolationError:
            print(f"{job_id} has been enqueued again meanwhile.")
    print(f"{len(retried)} of {len(ids)} queued again.")
    return 0 if len(retried) == len(ids) else 1


async def _show(connection: Connection) -> int:
    dead = await connection.fetch(rows.DEAD)
    for job in dead:
        print(
            f"{job['id']}  {job['name']}  {job['updated']:%Y-%m-%d %H:%M:%S} UTC  attempts: {job['starts']}  "
            f"{printable((job['arguments'] or b'').decode(errors='backslashreplace'))}  {job['error']}"
        )
    total = dead[0]["total"] if dead else 0
    print(f"{total} dead." if total == len(dead) else f"{total} dead, of which these are the last {len(dead)}.")
    return 0
