"""Arithmetic from the limits of the machine to workers, threads, pools and timeouts, with a sentence for each number.

This module reads nothing and opens nothing; what the machine allows comes in as `Limits`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from brigade.settings import ConfigurationError, Settings
from brigade.sizing.limits import Limits, read_limits

__all__ = ["Limits", "Plan", "as_table", "make_plan", "read_limits"]

POSTGRES_MAX_CONNECTIONS = 100
POSTGRES_RESERVED = 3
"""Postgres's own defaults, for when the server has not been asked; the second is kept for superusers."""

HEADROOM = 5
"""Connections for people and tools: a migration, a psql, a backup, an exporter and one to spare."""

GENERATIONS = 2
"""A reload starts new workers before the old ones go, so for a while each worker exists twice."""

FEWER_JOBS = "lower JOBS_RUNNERS or JOBS_CONCURRENCY"
RUNNER_CONNECTIONS = 2
"""Postgres connections of a runner of jobs beside one for each job: it listens, and it takes jobs."""

REDIS_CONNECTIONS = 8
"""Redis connections of one worker: 150 tasks at once took 157 us a command over 8 of them, before calls were coalesced."""

THREADPOOL_TOKENS = 8
"""Threads of one worker, without the CPU lane. With 20 of anyio's 40 busy computing, an awaiting route took 542 ms."""

STATEMENT_SHARE = 2 / 3
MIB = 1024 * 1024


@dataclass(frozen=True)
class Plan:
    cpus: float
    memory_limit_mb: int | None
    workers: int
    replicas: int
    connection_budget: int
    db_pool: int
    redis_connections: int
    cpu_lane_threads: int
    cpu_lane_queue: int
    threadpool_tokens: int
    statement_timeout_s: float
    request_timeout_s: float
    drain_timeout_s: float
    graceful_timeout_s: float
    keepalive_s: float
    notes: Mapping[str, tuple[str, str]] = field(repr=False, compare=False)
    """The source of each number, and the reason for its value."""

    def as_json(self) -> dict[str, dict[str, Any]]:
        return {
            name: {"value": getattr(self, name), "source": source, "why": why}
            for name, (source, why) in self.notes.items()
        }


def make_plan(  # noqa: PLR0913 - what the server said, word by word
    settings: Settings,
    limits: Limits,
    *,
    max_connections: int | None = None,
    reserved: int = POSTGRES_RESERVED,
    pooled: bool = False,
    jobs: bool = False,
) -> Plan:
    """Size everything. Without `max_connections` the server is taken to have its default.

    `jobs`: there are runners of jobs, which need connections too.
    `pooled`: what is opened are connections of a pooler's clients, and Postgres has others behind it.

    Raises:
        ConfigurationError: the connection budget cannot be kept; the message names what to change.
    """
    given = partial(_given, settings)
    budget, *budget_note = _budget(settings, max_connections, reserved, pooled or settings.database_pooled, jobs)
    workers, *workers_note = _workers(settings, limits, budget, jobs)
    memory_mb = limits.memory_bytes // MIB if limits.memory_bytes is not None else None
    pool = budget // (workers * settings.replicas * GENERATIONS)
    share = (
        f"{budget} / ({workers} workers x {settings.replicas} replicas x {GENERATIONS}, as a reload runs old and new)"
    )
    figures: dict[str, tuple[Any, ...]] = {
        "cpus": (limits.cpus, *_from(limits.cpus_source, "CPUs this process may use")),
        "memory_limit_mb": (memory_mb, *_from(limits.memory_source, "MiB this process may use")),
        "workers": (workers, *workers_note),
        "replicas": given("replicas", "copies of this service that share the Postgres server"),
        "connection_budget": (budget, *budget_note),
        "db_pool": (pool, "computed", share),
        "redis_connections": (REDIS_CONNECTIONS, "constant", "calls of one loop tick share a round trip: few are busy"),
        "cpu_lane_threads": given("cpu_lane_threads", "CPU jobs at once in a worker; more would share its GIL"),
        "cpu_lane_queue": given("cpu_lane_queue", "CPU jobs that may wait; the next is answered 503"),
        "threadpool_tokens": (THREADPOOL_TOKENS, "constant", "def code that waits; computing belongs in the CPU lane"),
        "statement_timeout_s": (
            statement_timeout_s(settings),
            "computed",
            "2/3 of a request; the rest is to wait for a connection",
        ),
        "request_timeout_s": given("request_timeout_s", "then the request is answered 503"),
        "drain_timeout_s": (
            settings.drain_timeout_s,
            "computed",
            "a stopping worker finishes requests, then closes pools",
        ),
        "graceful_timeout_s": given("graceful_timeout_s", "then it is killed; a container's stop grace must be longer"),
        "keepalive_s": given("keepalive_s", "longer than the proxy in front keeps a connection: it closes first"),
    }
    notes = {name: (source, why) for name, (_, source, why) in figures.items()}
    return Plan(**{name: figure[0] for name, figure in figures.items()}, notes=notes)


def statement_timeout_s(settings: Settings) -> float:
    return round(settings.request_timeout_s * STATEMENT_SHARE, 3)


def session_options(settings: Settings) -> dict[str, str]:
    """Return the options with which a worker starts a Postgres session. Older poolers refuse a start with any option."""
    return {} if settings.database_pooled else session_settings(settings)


def session_settings(settings: Settings) -> dict[str, str]:
    """Return the settings of a worker's Postgres sessions."""
    return {"statement_timeout": str(round(statement_timeout_s(settings) * 1000)), "jit": "off"}


def _of_runners(settings: Settings) -> int:
    """Return the connections of all runners, while those of a new version start beside the old."""
    return settings.jobs_runners * GENERATIONS * (settings.jobs_concurrency + RUNNER_CONNECTIONS)


def _budget(
    settings: Settings, max_connections: int | None, reserved: int, pooled: bool, jobs: bool
) -> tuple[int, str, str]:
    server = POSTGRES_MAX_CONNECTIONS if max_connections is None else max_connections
    runners = _of_runners(settings) if jobs else 0
    for_jobs = f", and {runners} for runners of jobs" if runners else ""
    room = server - reserved - HEADROOM - runners
    if settings.db_connection_budget is None:
        why = f"max_connections {server} less {reserved} for superusers and {HEADROOM} for people and migrations{for_jobs}"
        return room, "default" if max_connections is None else "server", why
    if pooled:
        why = f"client connections to the pooler, which may have {room} to Postgres: max_connections {server} less "
        return _given(settings, "db_connection_budget", f"{why}{reserved + HEADROOM + runners}")
    if max_connections is not None and settings.db_connection_budget > room:
        mend = [f"lower it to {room}"] if room > 0 else [FEWER_JOBS] if runners else []
        raise ConfigurationError(
            f"DB_CONNECTION_BUDGET ({settings.db_connection_budget}) is more than Postgres has for this service: "
            f"{' or '.join([*mend, 'raise max_connections'])} "
            f"(max_connections {server}, less {reserved + HEADROOM + runners} kept free)."
        )
    return _given(settings, "db_connection_budget", "what all workers of all replicas may hold")


def _workers(settings: Settings, limits: Limits, budget: int, jobs: bool) -> tuple[int, str, str]:
    most = budget // (settings.replicas * GENERATIONS)
    if most < (settings.web_concurrency or 1):
        raise ConfigurationError(_over_budget(settings, budget, most, jobs))
    if settings.web_concurrency is not None:
        return _given(settings, "web_concurrency", "as asked, whatever the CPUs and the memory")
    bounds = [(max(1, int(limits.cpus)), limits.cpus_source, f"one for each whole CPU of {limits.cpus:g}")]
    if limits.memory_bytes is not None:
        fit = max(1, limits.memory_bytes // (settings.worker_memory_mb * MIB))
        why = f"bound by memory: {limits.memory_bytes // MIB} MiB / WORKER_MEMORY_MB {settings.worker_memory_mb}"
        bounds.append((fit, limits.memory_source, why))
    why = f"bound by the connection budget: {budget} / ({settings.replicas} replicas x {GENERATIONS}), one connection each"
    bounds.append((most, "budget", why))
    workers, source, why = min(bounds, key=lambda bound: bound[0])
    return workers, *_from(source, why)


def _over_budget(settings: Settings, budget: int, most: int, jobs: bool) -> str:
    asked, replicas = settings.web_concurrency, settings.replicas
    mend = [f"lower WEB_CONCURRENCY to {most}"] if most >= 1 else []
    mend += ["lower REPLICAS"] if replicas > 1 else []
    mend += [FEWER_JOBS] if jobs and settings.jobs_runners and not settings.db_connection_budget else []
    mend += ["raise DB_CONNECTION_BUDGET" if settings.db_connection_budget else "raise max_connections of Postgres"]
    who = f"WEB_CONCURRENCY={asked}" if asked else "One worker"
    return (
        f"{who} x REPLICAS={replicas} x {GENERATIONS} (a reload runs old and new workers together) needs "
        f"{(asked or 1) * replicas * GENERATIONS} Postgres connections, and DB_CONNECTION_BUDGET is {max(0, budget)}: "
        f"{' or '.join(mend)}."
    )


def _from(source: str, why: str) -> tuple[str, str]:
    kind, _, where = source.partition(" ")
    return kind, f"{why}, from {where}" if where else why


def _given(settings: Settings, name: str, why: str) -> tuple[Any, str, str]:
    source = "environment" if name in settings.model_fields_set else "default"
    return getattr(settings, name), source, f"{name.upper()}: {why}"


def as_table(plan: Plan) -> str:
    """The plan for people: a line a number, with its source and its reason."""
    lines = [("name", "value", "source", "why")]
    for name, (source, why) in plan.notes.items():
        value = getattr(plan, name)
        lines.append((name, "unknown" if value is None else f"{value:.10g}", source, why))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        f"{name:<{widths[0]}}  {value:>{widths[1]}}  {source:<{widths[2]}}  {why}" for name, value, source, why in lines
    )
