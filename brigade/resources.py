"""Opens what a worker needs for its whole life: the Postgres pool, Redis behind a breaker, the CPU lane.

In order, and closed in reverse, by one exit stack. Nothing is opened at import, and nothing before the fork.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import anyio.to_thread
import asyncpg
from pydantic import SecretStr
from redis.asyncio import Redis

from brigade.lanes import CpuLane
from brigade.settings import ConfigurationError, Settings
from brigade.sizing import Plan, session_options, session_settings
from brigade.stores.breaker import Breaker
from brigade.stores.cache import Cache
from brigade.stores.database import ACQUIRE_TIMEOUT_S, Pool, Replica
from brigade.stores.deployment import Deployment
from brigade.stores.keys import Keys
from brigade.stores.postgres_client import Session, connect
from brigade.stores.postgres_errors import POSTGRES_FAILURES
from brigade.stores.postgres_session import session_reset
from brigade.stores.redis_client import open_redis
from brigade.stores.redis_line import Line, Lines
from brigade.telemetry import tracing
from brigade.telemetry.loop_watch import LoopWatch
from brigade.telemetry.metrics import WorkerStats

if TYPE_CHECKING:
    from brigade.outgoing.client import HttpClient

CONNECT_TIMEOUT_S = 0.7
REDIS_TIMEOUT_S = 0.3
"""A Redis in the same zone answers in 1 ms; past this, Postgres is the faster way to the same answer."""
CLOSE_TIMEOUT_S = 1.0


@dataclass(frozen=True)
class Resources:
    settings: Settings
    plan: Plan
    stats: WorkerStats
    loop_watch: LoopWatch
    lane: CpuLane
    pg: Pool
    replica: Replica | None
    cache: Cache
    deployment: Deployment
    opened: AsyncExitStack = field(repr=False)
    """Holds all that is open, until the worker ends."""

    @cached_property
    def http(self) -> "HttpClient":
        """The client for other services, loaded and opened when it is first asked for."""
        from brigade.outgoing.client import HttpClient  # noqa: PLC0415 - aiohttp is for callers alone

        client = HttpClient(self.settings)
        self.opened.push_async_callback(client.close)
        return client


@asynccontextmanager
async def open_resources(settings: Settings, plan: Plan, stats: WorkerStats) -> AsyncIterator[Resources]:
    """Open everything without waiting for a server: a worker that starts while Postgres is away serves what it can."""
    async with AsyncExitStack() as stack:
        watch = LoopWatch(blocked_ms=settings.loop_blocked_ms, killed_after_s=settings.worker_timeout_s)
        await stack.enter_async_context(watch)
        anyio.to_thread.current_default_thread_limiter().total_tokens = plan.threadpool_tokens
        lane = CpuLane(threads=plan.cpu_lane_threads, queue=plan.cpu_lane_queue, processes=settings.cpu_lane_processes)
        pg = await stack.enter_async_context(_postgres(settings, plan))
        replica = await stack.enter_async_context(_replica(settings, plan))
        cache = await stack.enter_async_context(_redis(settings, plan))
        deployment = Deployment(cache.keys, address=settings.deployment_address)
        yield Resources(settings, plan, stats, watch, lane, pg, replica, cache, deployment, stack)


@asynccontextmanager
async def _postgres(settings: Settings, plan: Plan) -> AsyncIterator[Pool]:
    if settings.database_url is None:
        raise ConfigurationError(
            "DATABASE_URL is not set: give it a Postgres, as postgresql://user:password@host:port/database."
        )
    async with _pool(settings.database_url, settings, plan, timeout_s=plan.statement_timeout_s + 1) as pool:
        yield pool


@asynccontextmanager
async def _replica(settings: Settings, plan: Plan) -> AsyncIterator[Replica | None]:
    """The pool of the replica is as large as that of the primary, because a standby may not allow fewer connections."""
    if settings.database_read_url is None:
        yield None
        return
    async with _pool(settings.database_read_url, settings, plan, timeout_s=ACQUIRE_TIMEOUT_S) as pool:
        yield Replica(pool, Breaker(backend="postgres replica"))


@asynccontextmanager
async def _pool(url: SecretStr, settings: Settings, plan: Plan, *, timeout_s: float) -> AsyncIterator[Pool]:
    pool = asyncpg.create_pool(
        url.get_secret_value(),
        connect=connect,
        connection_class=Session,
        min_size=0,  # opened when first needed: no worker opens its whole share at boot, or fails to boot without Postgres
        max_size=plan.db_pool,
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=timeout_s,
        statement_cache_size=0 if settings.database_pooled else 100,
        reset=session_reset(session_settings(settings)),
        init=_trace if tracing.is_on() else None,
        server_settings={"application_name": f"service.worker.{os.getpid()}", **session_options(settings)},
    )
    await pool
    try:
        yield pool
    finally:
        try:
            # close() waits for every connection to be released, without end.
            await asyncio.wait_for(pool.close(), CLOSE_TIMEOUT_S)
        except POSTGRES_FAILURES:
            pool.terminate()


async def _trace(connection: asyncpg.Connection) -> None:
    connection.add_query_logger(tracing.note_sql)


@asynccontextmanager
async def _redis(settings: Settings, plan: Plan) -> AsyncIterator[Cache]:
    if settings.redis_url is None:
        raise ConfigurationError("REDIS_URL is not set: give it a Redis or Valkey, as redis://host:port/0.")
    client = open_redis(
        settings.redis_url.get_secret_value(),
        connections=plan.redis_connections,
        timeout_s=REDIS_TIMEOUT_S,
        socket_timeout=REDIS_TIMEOUT_S,
        client_name=f"service.worker.{os.getpid()}",
    )
    if isinstance(client, Redis):
        line: Line | Lines = Line(client.connection_pool.make_connection())  # type: ignore[no-untyped-call]
    else:
        line = Lines(client)
    try:
        yield Cache(client, Breaker(), line, keys=Keys(settings.deployment_name))
    finally:
        await line.close()
        await client.aclose()
