"""`python -m service run`: looks before it leaps, prints the plan, and becomes Gunicorn (the same process id).

Whatever would make workers fail one after the other is refused here, once, in one sentence.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import structlog

from brigade.cli import CommandError, Project
from brigade.cli.inherited import settle_environment
from brigade.cli.patience import ServerAway
from brigade.cli.postgres import PostgresFacts, ask_postgres, session
from brigade.cli.process_limits import check_files, check_threads
from brigade.cli.redis import with_redis
from brigade.cli.sizing import make_plan
from brigade.server import listening
from brigade.settings import ConfigurationError, Settings, load_settings
from brigade.sizing import GENERATIONS, as_table, session_options
from brigade.stores.copies import sign
from brigade.stores.deployment import FREE_AFTER_S, Deployment
from brigade.stores.keys import Keys
from brigade.stores.redis_client import AnyRedis
from brigade.stores.schema import Schema, read_heads
from brigade.telemetry import logs

HOLD_ANY_TEXT = {"UTF8", "SQL_ASCII"}
"""Encodings of a database. SQL_ASCII stores the bytes of UTF-8 as they are."""
GUNICORN_CONF = Path(listening.__file__).with_name("gunicorn_conf.py")


def main(project: Project) -> int:
    settings = load_settings(project.settings)
    logs.configure(settings)
    check_files()
    listening.check(settings)
    try:
        check_state_dir(settings)
    except CommandError as reason:  # a service whose folder cannot be used serves, and tries again while it does
        structlog.get_logger("brigade.cli").error("STATE_DIR cannot be used", reason=str(reason))
    plan = make_plan(project, settings, asyncio.run(_check_servers(project, settings)))
    check_files(plan)
    check_threads(plan)
    if settings.log_format == "json":
        structlog.get_logger("brigade.cli").info("plan", plan=plan.as_json())
    else:
        print(as_table(plan), flush=True)
    settle_environment(workers=settings.web_concurrency, activated=bool(listening.handed_over()))
    # Workers size themselves again; this is what they cannot know without asking the server.
    os.environ["BRIGADE_APP"] = project.app
    os.environ["BRIGADE_FEATURES"] = str(project.features.absolute())
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


async def _check_servers(project: Project, settings: Settings) -> PostgresFacts | None:
    """Refuse to start where a server's answer forbids it. A server that is away forbids nothing: workers run without it.

    Raises:
        CommandError, ConfigurationError: the service could not work with what was answered.
    """
    deployment = Deployment(Keys(settings.deployment_name), address=settings.deployment_address)
    facts, lacking = None, []
    try:
        async with session(settings, name="service.run", options=session_options(settings)) as connection:
            facts = await ask_postgres(connection)
            lacking = lacking_revisions(project.features, await read_heads(connection))
            await deployment.identify(connection)
    except ServerAway as reason:
        _warn(reason, "what Redis knows is served until it is back")
    if facts:
        check_pooler(settings, facts)
        check_encoding(facts)
    check_schema(lacking, project.command)
    try:
        is_ours, copies = await with_redis(partial(_look_around, deployment), settings, name="service.run")
    except ServerAway as reason:
        _warn(reason, "Postgres is asked instead until it is back")
    else:
        check_deployment(deployment, is_ours=is_ours)
        check_copies(settings, copies)
    return facts


async def _look_around(deployment: Deployment, redis: AnyRedis) -> tuple[bool, int]:
    """Find whose the keys are, and how many replicas of this deployment live."""
    is_ours = await deployment.claim(redis)
    return is_ours, await sign(redis, deployment.keys) if is_ours else 0


def _warn(reason: ServerAway, meanwhile: str) -> None:
    text = f"{reason} Starting without it: {meanwhile}."
    if not logs.write_on_stderr("warning", "starting without a server", reason=text):
        print(f"service: {text}", file=sys.stderr, flush=True)


def check_deployment(deployment: Deployment, *, is_ours: bool) -> None:
    """
    Raises:
        ConfigurationError: another database's deployment has the same name in this Redis.
    """
    if is_ours or not deployment.identity:  # workers leave Redis alone until Postgres has said who it is
        return
    raise ConfigurationError(
        f"REDIS_URL leads to a Redis in which another database's deployment has the name {deployment.name!r}: set "
        f"DEPLOYMENT to a name of its own. If this database has replaced that one, wait {FREE_AFTER_S // 60} minutes."
    )


def lacking_revisions(features: Path, heads: Sequence[str]) -> list[str]:
    """Return the revisions of the features that a database at `heads` lacks."""
    schema = Schema(sorted(features.glob("*")))
    if schema.is_known:
        return schema.lacking(heads)
    from brigade.cli.schema import pending, read_scripts  # noqa: PLC0415 - Alembic takes 0.35 s of each start

    return [script.revision for script in pending(read_scripts(features), heads)]


def check_schema(lacking: Sequence[str], command: str) -> None:
    """
    Raises:
        CommandError: the database lacks a migration.
    """
    if lacking:
        raise CommandError(f"The database lacks migrations ({', '.join(lacking)}): run {command} migrate.")


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


def check_encoding(facts: PostgresFacts) -> None:
    """A character that the database cannot store would be a defect of whichever request brings it.

    Raises:
        ConfigurationError: there are such characters.
    """
    if facts.encoding not in HOLD_ANY_TEXT:
        raise ConfigurationError(
            f"DATABASE_URL leads to a database whose encoding is {facts.encoding}, which cannot store all text: make one "
            "by CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0."
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
