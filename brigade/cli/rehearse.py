"""`python -m service rehearse`: whether new workers would start, told to the person who is about to reload."""

import asyncio
from contextlib import suppress
from importlib import import_module

import uvloop

from brigade.cli import Project
from brigade.cli.patience import ServerAway
from brigade.cli.postgres import PostgresFacts, ask_postgres, session
from brigade.cli.run import check_schema, lacking_revisions
from brigade.cli.sizing import make_plan
from brigade.server.rehearsal import start_and_end
from brigade.settings import Settings, load_settings
from brigade.stores.schema import read_heads


def main(project: Project) -> int:
    settings = load_settings(project.settings)
    plan = make_plan(project, settings, asyncio.run(_check_schema(project, settings)))
    # `run` tells its workers what the server has, which they cannot know without asking it.
    settings = settings.model_copy(update={"db_connection_budget": plan.connection_budget})
    module, _, factory = project.app.partition(":")
    app = getattr(import_module(module), factory)(settings)
    uvloop.run(start_and_end(app))
    return 0


async def _check_schema(project: Project, settings: Settings) -> PostgresFacts | None:
    """New workers would ask for what a pending migration has yet to make. A server that is away holds up no reload."""
    with suppress(ServerAway):
        async with session(settings, name="service.rehearse", patience_s=0) as connection:
            check_schema(lacking_revisions(project.features, await read_heads(connection)), project.command)
            return await ask_postgres(connection)
    return None
