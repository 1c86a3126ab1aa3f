"""`python -m service work`: does the jobs that the service enqueues, until SIGTERM, and beside it."""

import asyncio
import faulthandler
import logging
import signal
from contextlib import suppress
from dataclasses import replace
from importlib import import_module

import structlog
import uvloop
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from prometheus_client import start_http_server

from brigade.app import Brigade
from brigade.cli import CommandError, Project
from brigade.cli.run import check_schema
from brigade.errors import DatabaseUnavailable
from brigade.jobs import registered
from brigade.jobs.runner import Runner
from brigade.resources import open_resources
from brigade.server.rehearsal import start_and_end
from brigade.settings import ConfigurationError, Settings, load_settings
from brigade.sizing import RUNNER_CONNECTIONS, Plan, make_plan, read_limits
from brigade.stores.database import Pool, read
from brigade.stores.schema import read_heads, schema
from brigade.tasks import end, supervised
from brigade.telemetry import logs, tracing
from brigade.telemetry.log_throttle import LogThrottle
from brigade.telemetry.metrics import WorkerStats, registry, told_each_second
from brigade.telemetry.strays import log_strays

PAUSE_S = 2.0
"""Seconds until the next try after an outage."""
END_BEFORE_KILL_S = 0.5
"""How long before the SIGKILL of the platform, which says nothing, a runner prints where it hangs and ends itself."""
TELL_EVERY_S = 1.0
STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

log = structlog.get_logger("service.jobs")
_throttle = LogThrottle()


def main(project: Project) -> int:
    settings = load_settings(project.settings)
    if not project.has_jobs:
        raise CommandError("No feature has a jobs.py, so there are no jobs to do.")
    module, _, factory = project.app.partition(":")
    app: Brigade = getattr(import_module(module), factory)(settings)
    log_strays()
    if not registered:
        raise CommandError("No feature that main.py names has imported its jobs.")
    logging.getLogger("pgqueuer").setLevel(logging.CRITICAL)  # the runner's own lines say it once, with the job's name
    uvloop.run(_work(app, *_sized(settings), project.command))
    return 0


def _sized(settings: Settings) -> tuple[Settings, Plan]:
    """A runner has processes where a worker has threads, and a connection for each job. How many workers there are beside it
    is the service's business, which asks the server for its connections.
    """
    limits = read_limits()
    own = {"cpu_lane_processes": True, "cpu_lane_threads": max(1, int(limits.cpus)), "cpu_lane_queue": 100_000}
    own |= {"web_concurrency": 1, "replicas": 1}
    settings = settings.model_copy(update=own)
    return settings, replace(make_plan(settings, limits), db_pool=settings.jobs_concurrency + RUNNER_CONNECTIONS)


async def _work(app: Brigade, settings: Settings, plan: Plan, command: str) -> None:
    told = asyncio.Event()
    _hear_signals(told, end_after_s=settings.graceful_timeout_s - END_BEFORE_KILL_S)
    _serve_metrics(settings)
    with logs.written_by_thread():
        # FastAPI sets OpenTelemetry up where a server starts an application, and nobody starts this one.
        await start_and_end(FastAPI(telemetry=TelemetryConfig(auto_configure=True, metrics=False, logs=False)))
        async with tracing.exported(on=app._native_telemetry.enabled()):
            telling = supervised("metrics", _tell_metrics, every_s=TELL_EVERY_S)
            log.info("runner started", jobs=sorted(registered), at_once=settings.jobs_concurrency)
            while not told.is_set():
                await _work_until(told, settings, plan, command)
            await end(telling)
            log.info("runner stopped")


def _hear_signals(told: asyncio.Event, *, end_after_s: float) -> None:
    """Python calls the handler, and not the loop, which a job may block: a job that does not end is found in its stack."""
    loop, heard = asyncio.get_running_loop(), False

    def tell(*_: object) -> None:
        nonlocal heard
        if not heard:
            faulthandler.dump_traceback_later(end_after_s, exit=True)
        heard = True
        loop.call_soon_threadsafe(told.set)

    for number in STOP:
        is_ignored = signal.getsignal(number) is signal.SIG_IGN
        if number != signal.SIGHUP or not is_ignored:  # nohup asked to outlive the terminal
            signal.signal(number, tell)


async def _tell_metrics() -> None:
    """Tell what is counted in plain attributes, as a worker's publisher does."""
    for tell_news in told_each_second:
        tell_news()


def _serve_metrics(settings: Settings) -> None:
    if settings.jobs_port is None:
        return
    try:
        start_http_server(settings.jobs_port, settings.host, registry=registry)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(
            f"JOBS_PORT {settings.jobs_port} on HOST {settings.host!r} cannot be listened on ({error}): set another."
        ) from None


async def _work_until(told: asyncio.Event, settings: Settings, plan: Plan, command: str) -> None:
    """Work until told to stop, or until Postgres is lost. After a moment the pool is opened again then."""
    async with open_resources(settings, plan, WorkerStats()) as resources:
        runner = Runner(resources)
        work, stop = asyncio.create_task(runner.run()), asyncio.create_task(told.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        if told.is_set():
            await runner.stop(within_s=settings.drain_timeout_s)
        stop.cancel()
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever it was, jobs are to be done
            if (left_out := _throttle.admit(type(error).__name__)) is not None:
                text = await _reason(error, resources.pg, command)
                log.warning("runner was interrupted and goes on", error=text, left_out=left_out)
    if not told.is_set():
        with suppress(TimeoutError):
            await asyncio.wait_for(told.wait(), PAUSE_S)


async def _reason(error: Exception, pg: Pool, command: str) -> str:
    """Name the migrations that the database lacks. PgQueuer would name a command of its own, which makes other tables."""
    try:
        with suppress(DatabaseUnavailable):
            check_schema(schema.lacking(await read(pg, read_heads)), command)
    except CommandError as lacking:
        return str(lacking)
    return f"{type(error).__name__}: {error}"
