"""From the limits of the machine to workers, threads, pools and timeouts: arithmetic, and a sentence for each number.

Reads nothing and opens nothing; what the machine allows comes in as `Limits`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.limits import Limits, read_limits
from service.settings import ConfigurationError, Settings

__all__ = ["Limits", "Plan", "Row", "make_plan", "read_limits"]

POSTGRES_MAX_CONNECTIONS = 100
"""Postgres's own default, for when the server has not been asked."""

SUPERUSER_RESERVED = 3
"""Postgres keeps these for superusers: its default of superuser_reserved_connections."""

HEADROOM = 5
"""For people and tools: a migration, a psql, a backup, an exporter and one to spare."""

GENERATIONS = 2
"""A reload starts new workers before the old ones go, so for a while each worker exists twice."""

REDIS_CONNECTIONS = 8
"""Of one worker. 150 waiting tasks took 157 us a command over 8 connections, before calls were coalesced."""

THREADPOOL_TOKENS = 8
"""Of one worker, apart from the CPU lane. Of anyio's 40, twenty busy with CPU work put an awaiting route at 542 ms."""

STATEMENT_SHARE = 2 / 3
MIB = 1024 * 1024


@dataclass(frozen=True)
class Row:
    name: str
    value: float | int | None
    source: str
    why: str


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

    def rows(self) -> list[Row]:
        return [Row(name, getattr(self, name), source, why) for name, (source, why) in self.notes.items()]

    def as_json(self) -> dict[str, dict[str, Any]]:
        return {row.name: {"value": row.value, "source": row.source, "why": row.why} for row in self.rows()}


def make_plan(
    settings: Settings,
    limits: Limits,
    *,
    max_connections: int | None = None,
    superuser_reserved: int = SUPERUSER_RESERVED,
) -> Plan:
    """Size everything; without `max_connections` the server's default is taken for it.

    Raises:
        ConfigurationError: the connection budget cannot be kept; the message names what to change.
    """
    budget, *budget_note = _budget(settings, max_connections, superuser_reserved)
    workers, *workers_note = _workers(settings, limits, budget)
    replicas = settings.replicas
    memory_mb = limits.memory_bytes // MIB if limits.memory_bytes is not None else None
    statement_s = round(settings.request_timeout_s * STATEMENT_SHARE, 3)
    pool = budget // (workers * replicas * GENERATIONS)
    figures: dict[str, tuple[Any, ...]] = {
        "cpus": (limits.cpus, *_from(limits.cpus_source, "CPUs this process may use")),
        "memory_limit_mb": (memory_mb, *_from(limits.memory_source, "memory this process may use, in MiB")),
        "workers": (workers, *workers_note),
        "replicas": _set(settings, "replicas", "copies of this service that share the Postgres server"),
        "connection_budget": (budget, *budget_note),
        "db_pool": (
            pool,
            "computed",
            f"{budget} / ({workers} workers x {replicas} replicas x {GENERATIONS} for a reload)",
        ),
        "redis_connections": (
            REDIS_CONNECTIONS,
            "constant",
            "the calls of one loop tick share a round trip, so few are busy at once",
        ),
        "cpu_lane_threads": _set(
            settings, "cpu_lane_threads", "CPU jobs at once in a worker; more would only share its GIL"
        ),
        "cpu_lane_queue": _set(settings, "cpu_lane_queue", "CPU jobs that may wait; the next is answered 503"),
        "threadpool_tokens": (
            THREADPOOL_TOKENS,
            "constant",
            "def code that waits; few, as CPU work gone astray here slows the loop",
        ),
        "statement_timeout_s": (
            statement_s,
            "computed",
            "two thirds of a request; the rest is for the wait for a connection",
        ),
        "request_timeout_s": _set(settings, "request_timeout_s", "then the request is answered 503"),
        "drain_timeout_s": (
            settings.drain_timeout_s,
            "computed",
            "a stopping worker finishes its requests, then closes its pools",
        ),
        "graceful_timeout_s": _set(
            settings, "graceful_timeout_s", "then it is killed; the stop grace of the container must be longer"
        ),
        "keepalive_s": _set(
            settings, "keepalive_s", "longer than the proxy in front keeps a connection, so that the proxy closes it"
        ),
    }
    notes = {name: (source, why) for name, (_, source, why) in figures.items()}
    return Plan(**{name: figure[0] for name, figure in figures.items()}, notes=notes)


def _budget(settings: Settings, max_connections: int | None, superuser_reserved: int) -> tuple[int, str, str]:
    server = POSTGRES_MAX_CONNECTIONS if max_connections is None else max_connections
    reserve = superuser_reserved + HEADROOM
    budget = settings.db_connection_budget
    if budget is None:
        source = "default" if max_connections is None else "server"
        why = f"max_connections {server} less {superuser_reserved} for superusers and {HEADROOM} for people and migrations"
        return server - reserve, source, why
    if max_connections is not None and budget > server - reserve:
        raise ConfigurationError(
            f"DB_CONNECTION_BUDGET ({budget}) is more than max_connections of the Postgres server ({server}) less a reserve of {reserve}: "
            f"lower DB_CONNECTION_BUDGET to {server - reserve} or raise max_connections."
        )
    return _set(settings, "db_connection_budget", "what all workers of all replicas may hold")


def _workers(settings: Settings, limits: Limits, budget: int) -> tuple[int, str, str]:
    most = budget // (settings.replicas * GENERATIONS)
    if most < (settings.web_concurrency or 1):
        raise ConfigurationError(_over_budget(settings, budget, most))
    if settings.web_concurrency is not None:
        return _set(settings, "web_concurrency", "as asked, whatever the CPUs and the memory")
    bounds = [(max(1, int(limits.cpus)), limits.cpus_source, f"one for each whole CPU of {limits.cpus:g}")]
    if limits.memory_bytes is not None:
        fit = max(1, limits.memory_bytes // (settings.worker_memory_mb * MIB))
        why = f"bound by memory: {limits.memory_bytes // MIB} MiB / WORKER_MEMORY_MB {settings.worker_memory_mb}"
        bounds.append((fit, limits.memory_source, why))
    why = f"bound by the connection budget: {budget} / ({settings.replicas} replicas x {GENERATIONS}), for one connection each"
    bounds.append((most, "budget", why))
    workers, source, why = min(bounds, key=lambda bound: bound[0])
    return workers, *_from(source, why)


def _over_budget(settings: Settings, budget: int, most: int) -> str:
    asked, replicas = settings.web_concurrency, settings.replicas
    mend = [f"lower WEB_CONCURRENCY to {most}"] if most >= 1 else []
    mend += ["lower REPLICAS"] if replicas > 1 else []
    mend += [
        "raise DB_CONNECTION_BUDGET"
        if settings.db_connection_budget
        else "raise max_connections of the Postgres server"
    ]
    return (
        f"{f'WEB_CONCURRENCY={asked}' if asked else 'One worker'} x REPLICAS={replicas} x {GENERATIONS} (a reload runs old and new workers "
        f"together) needs {(asked or 1) * replicas * GENERATIONS} Postgres connections, and DB_CONNECTION_BUDGET is {budget}: {' or '.join(mend)}."
    )


def _from(source: str, why: str) -> tuple[str, str]:
    kind, _, where = source.partition(" ")
    return kind, f"{why}, from {where}" if where else why


def _set(settings: Settings, name: str, why: str) -> tuple[Any, str, str]:
    source = "environment" if name in settings.model_fields_set else "default"
    return getattr(settings, name), source, f"{name.upper()}: {why}"


def as_table(plan: Plan) -> str:
    """The plan for people: a line a number, aligned, with its source and its reason."""
    lines = [(row.name, "none" if row.value is None else f"{row.value:g}", row.source, row.why) for row in plan.rows()]
    name_width, value_width, source_width = (max(map(len, column)) for column in list(zip(*lines, strict=True))[:3])
    return "\n".join(
        f"{name:<{name_width}}  {value:>{value_width}}  {source:<{source_width}}  {why}"
        for name, value, source, why in lines
    )
