"""`python -m service run`: looks before it leaps, prints the plan, and becomes Gunicorn (the same process id).

Whatever would make workers fail one after the other is refused here, once, in one sentence.
"""

import asyncio
import os
import sys
from pathlib import Path

import structlog

from brigade.cli import CommandError, Project
from brigade.cli.inherited import settle_environment
from brigade.cli.schema import pending, read_heads, read_scripts
from brigade.cli.servers import PostgresFacts, ask_postgres, session, with_redis
from brigade.cli.sizing import make_plan
from brigade.server import listening
from brigade.settings import ConfigurationError, Settings, load_settings
from brigade.sizing import GENERATIONS, as_table, session_options
from brigade.stores.copies import sign
from brigade.telemetry import logs

GUNICORN_CONF = Path(__file__).parents[2] / "deploy" / "gunicorn.conf.py"


def main(project: Project) -> int:
    settings = load_settings(project.settings)
    logs.configure(settings)
    if not GUNICORN_CONF.is_file():
        raise CommandError(f"{GUNICORN_CONF} is missing: it belongs beside the service folder.")
    listening.check(settings)
    check_state_dir(settings)
    plan = make_plan(settings, asyncio.run(_check_servers(project, settings)))
    if settings.log_format == "json":
        structlog.get_logger("brigade.cli").info("plan", plan=plan.as_json())
    else:
        print(as_table(plan), flush=True)
    settle_environment(workers=settings.web_concurrency, activated=bool(listening.handed_over()))
    # Workers size themselves again; this is what they cannot know without asking the server.
    os.environ["BRIGADE_APP"] = project.app
    os.environ["DB_CONNECTION_BUDGET"] = str(plan.connection_budget)
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", str(GUNICORN_CONF)]
    os.execv(sys.executable, gunicorn)  # noqa: S606 - no shell is meant


def check_state_dir(settings: Settings) -> None:
    """Make it, and write in it.

    Raises:
        CommandError: it cannot be written.
    """
    probe = settings.state_dir / f".probe.{os.getpid()}"
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise CommandError(f"STATE_DIR {settings.state_dir} cannot be written: {error.strerror}.") from None


async def _check_servers(project: Project, settings: Settings) -> PostgresFacts:
    async with session(settings, name="service.run", options=session_options(settings)) as connection:
        facts = await ask_postgres(connection)
        check_pooler(settings, facts)
        lacking = pending(read_scripts(project.features), await read_heads(connection))
    if lacking:
        names = ", ".join(script.revision for script in lacking)
        raise CommandError(f"The database lacks {len(lacking)} migrations ({names}): run python -m service migrate.")
    check_copies(settings, await with_redis(sign, settings, name="service.run"))
    return facts


def check_pooler(settings: Settings, facts: PostgresFacts) -> None:
    """Workers prepare their statements, and would find those of others, or none, in a session that is passed around.

    Raises:
        ConfigurationError: a pooler does that.
    """
    if not (facts.keeps_statements or settings.database_pooled):
        raise ConfigurationError(
            "DATABASE_URL leads to a pooler that does not keep its clients' prepared statements: set DATABASE_POOLED, "
            "or max_prepared_statements of PgBouncer 1.21 and newer."
        )


def check_copies(settings: Settings, copies: int) -> None:
    """Each copy has sized its connections by REPLICAS, and left room for as many again: for those that replace them.

    Raises:
        ConfigurationError: there are more, so that together they may ask Postgres for more than it has.
    """
    if copies > settings.replicas * GENERATIONS:
        raise ConfigurationError(
            f"REPLICAS is {settings.replicas}, and {copies} copies of the service use this Redis and Postgres: "
            f"set REPLICAS to {copies}, by which each sizes its share of the connections."
        )
