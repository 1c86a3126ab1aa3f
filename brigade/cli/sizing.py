"""`python -m service sizing`: the plan that `run` would make, without starting anything."""

import asyncio
from json import dumps

from brigade import sizing
from brigade.cli import CommandError, Project
from brigade.cli.postgres import PostgresFacts, ask_postgres, session
from brigade.settings import Settings, load_settings


def main(project: Project, *, json: bool) -> int:
    settings = load_settings(project.settings)
    plan = make_plan(project, settings, asyncio.run(_ask(settings)))
    print(dumps(plan.as_json(), indent=2) if json else sizing.as_table(plan))
    return 0


def make_plan(project: Project, settings: Settings, facts: PostgresFacts | None) -> sizing.Plan:
    limits, jobs = sizing.read_limits(), project.has_jobs
    if facts is None:
        return sizing.make_plan(settings, limits, jobs=jobs)
    return sizing.make_plan(
        settings,
        limits,
        max_connections=facts.max_connections,
        reserved=facts.reserved,
        pooled=facts.pooled,
        jobs=jobs,
    )


async def _ask(settings: Settings) -> PostgresFacts | None:
    """Return the limits of the server if it answers at once. The plan says which limits it used."""
    if settings.database_url is None:
        return None
    try:
        async with session(settings, name="service.sizing", patience_s=0) as connection:
            return await ask_postgres(connection)
    except CommandError:
        return None
