"""`python -m service doctor`: every check, its result, and how to fix what is wrong. It changes nothing itself."""

import asyncio
import http.client
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from json import dumps
from pathlib import Path
from typing import Any

import asyncpg
from alembic.script import Script
from asyncpg.connect_utils import SessionAttribute

from brigade.cli import CommandError, Project
from brigade.cli.file_systems import network_type
from brigade.cli.patience import FAILURES
from brigade.cli.postgres import PostgresFacts, ask_postgres, session
from brigade.cli.redis import ask_redis, with_redis
from brigade.cli.run import check_encoding, check_pooler, check_state_dir
from brigade.cli.schema import pending, read_scripts
from brigade.cli.sizing import make_plan
from brigade.server import listening
from brigade.settings import ConfigurationError, Settings, load_settings
from brigade.settings.postgres_url import read_postgres_url
from brigade.sizing import GENERATIONS, Plan, session_options
from brigade.stores.schema import read_heads

PROXY_KEEPALIVE_S = 60.0
"""Seconds for which the usual proxies keep an idle connection: nginx's upstreams, the load balancers of AWS."""
FILES = 8192
"""A connection is a file: 10,000 clients over two workers, and whatever else a worker has open."""
PATIENCE_S = 1.0
_session = partial(session, name="service.doctor", patience_s=PATIENCE_S)


@dataclass(frozen=True)
class Finding:
    """`wrong` and `advice` say how to fix it. Advice is for what works and could be better; it leaves the exit status 0."""

    check: str
    found: str
    wrong: str = ""
    advice: str = ""

    def __str__(self) -> str:
        level = "wrong" if self.wrong else "advice" if self.advice else "ok"
        mend = self.wrong or self.advice
        return f"{level:<8}{self.check:<13}{self.found}" + (f"\n{'':21}mend: {mend}" if mend else "")


def main(project: Project, *, json: bool) -> int:
    findings: list[Finding] = []
    with _noted(findings, "settings", mend="set the variable as the sentence says"):
        settings = load_settings(project.settings)
        findings.append(Finding("settings", "every variable can be used"))
        asyncio.run(_examine(project, settings, findings))
    print(dumps([asdict(finding) for finding in findings], indent=2) if json else "\n".join(map(str, findings)))
    return int(any(finding.wrong for finding in findings))


@contextmanager
def _noted(findings: list[Finding], check: str, *, mend: str) -> Iterator[None]:
    try:
        yield
    except (CommandError, ConfigurationError) as reason:
        findings.append(Finding(check, str(reason), wrong=mend))


async def _examine(project: Project, settings: Settings, findings: list[Finding]) -> None:
    facts = None
    with _noted(findings, "postgres", mend="start it, or correct DATABASE_URL"):
        options = session_options(settings)
        async with _session(settings, options=options) as connection:
            facts = await ask_postgres(connection)
            check_pooler(settings, facts)
            check_encoding(facts)
            findings += _postgres(facts, pending(read_scripts(project.features), await read_heads(connection)))
    if settings.database_url:
        url = read_postgres_url(settings.database_url.get_secret_value())
        if url.asks_for_channel_binding:
            advice = "set sslmode=verify-full: channel_binding is left out, as asyncpg does not have it"
            findings.append(Finding("tls", "DATABASE_URL requires channel_binding", advice=advice))
        if len(url.hosts) > 1:
            findings.append(await _hosts(url.dsn, url.hosts))
    if settings.database_read_url:
        mend = "start it, or correct DATABASE_READ_URL; until then the primary is asked"
        with _noted(findings, "replica", mend=mend):
            findings.append(await _replica(settings))
    with _noted(findings, "redis", mend="start it, or correct REDIS_URL"):
        servers = await with_redis(ask_redis, settings, name="service.doctor", patience_s=PATIENCE_S)
        for name, info in (servers or {"": {}}).items():
            findings += _redis(name, info)
    with _noted(findings, "sizing", mend="change a variable that the sentence names"):
        findings += _plan(make_plan(project, settings, facts), settings)
    with _noted(findings, "features", mend="import it in service/main.py and add it to FEATURES, or delete the folder"):
        findings.append(await asyncio.to_thread(_features, project, settings))
    findings.append(_files())
    with _noted(findings, "state folder", mend="set STATE_DIR, or give this user the folder"):
        check_state_dir(settings)
        findings.append(_state_folder(settings.state_dir))
    with _noted(findings, "port", mend="see what holds it: ss -ltnp"):
        findings.append(await asyncio.to_thread(_port, settings))


def _postgres(facts: PostgresFacts, lacking: list[Script]) -> Iterator[Finding]:
    wrong = "point DATABASE_URL at the primary: this is a standby" if facts.read_only else ""
    by = ", by way of a pooler" if facts.pooled else ""
    unbounded = "have the pooler set statement_timeout, as docs/stores.md does" if not facts.bounded else ""
    yield Finding("postgres", f"{facts.version}, max_connections {facts.max_connections}{by}", wrong, unbounded)
    names = ", ".join(script.revision for script in lacking)
    yield Finding("migrations", names or "all applied", "python -m service migrate" if lacking else "")


async def _hosts(url: str, hosts: Sequence[tuple[str, int]]) -> Finding:
    """Find what each host is now. Otherwise nobody would notice that one is away until it has to take over."""
    states = [await _state(url, host, port) for host, port in hosts]
    found = ", ".join(f"{host}:{port} is {state}" for (host, port), state in zip(hosts, states, strict=True))
    advice = "start it, or correct DATABASE_URL: the service could not fail over to it" if "away" in states else ""
    return Finding("fail-over", found, advice=advice)


async def _state(url: str, host: str, port: int) -> str:
    try:
        connection = await asyncpg.connect(
            url, host=host, port=port, target_session_attrs=SessionAttribute.any, timeout=PATIENCE_S
        )
        try:
            return "a standby" if await connection.fetchval("SELECT pg_is_in_recovery()") else "the primary"
        finally:
            await connection.close(timeout=PATIENCE_S)
    except FAILURES:
        return "away"


async def _replica(settings: Settings) -> Finding:
    async with _session(settings, "DATABASE_READ_URL") as connection:
        facts = await ask_postgres(connection)
        lag = await connection.fetchval("SELECT extract(epoch FROM now() - pg_last_xact_replay_timestamp())::float")
    advice = "" if facts.read_only else "point DATABASE_READ_URL at a standby: a primary is not asked there"
    return Finding("replica", f"{facts.version}, the last commit it knows is {lag or 0:.1f} s old", advice=advice)


def _redis(name: str, info: dict[str, Any]) -> Iterator[Finding]:
    at = f"{name}, " if name else ""
    if not info:
        yield Finding("redis", "answers, and forbids INFO", advice="see to it that it persists and does not evict")
        return
    version = info.get("valkey_version", info["redis_version"])
    yield Finding("redis", f"{at}{info.get('server_name', 'redis')} {version}")
    appends = bool(info.get("aof_enabled"))
    wrong = "" if appends else "set appendonly yes: without it a crash loses what was counted since the last snapshot"
    yield Finding("persistence", f"appendonly {'yes' if appends else 'no'}", wrong)
    policy, limit = str(info.get("maxmemory_policy")), int(info.get("maxmemory", 0))
    evicts = limit and (policy.startswith("allkeys") or policy == "volatile-ttl")
    lost = "marks that must outlive what they mark" if policy == "volatile-ttl" else "counters"
    wrong = f"set maxmemory-policy volatile-lru or noeviction: this one evicts {lost}" if evicts else ""
    advice = "" if limit else "set maxmemory to what the machine can spare"
    yield Finding("eviction", f"maxmemory {limit or 'unbounded'}, {policy}", wrong, advice)


def _plan(plan: Plan, settings: Settings) -> Iterator[Finding]:
    divided = f"{plan.connection_budget} / ({plan.workers} workers x {plan.replicas} replicas x {GENERATIONS})"
    yield Finding("connections", f"{divided}: {plan.db_pool} each")
    turns = "lower WEB_CONCURRENCY: more workers than CPUs take turns" if plan.workers > max(1, plan.cpus) else ""
    stalls = "allow a whole CPU: with less, everything stands still in each period of 0.1 s" if plan.cpus < 1 else ""
    yield Finding("cpus", f"{plan.cpus:g} ({plan.notes['cpus'][0]}), {plan.workers} workers", advice=turns or stalls)
    yield _memory(plan, settings.worker_memory_mb)
    # Settings are refused where this is not their order.
    order = [plan.statement_timeout_s, plan.request_timeout_s, plan.drain_timeout_s, plan.graceful_timeout_s]
    yield Finding("timeouts", "statement {:g} < request {:g} < drain {:g} < stop {:g} s".format(*order))
    advice = "raise KEEPALIVE_S above the proxy's, or the proxy sends requests into closing connections"
    found = f"{plan.keepalive_s:g} s; proxies keep {PROXY_KEEPALIVE_S:g} as a rule"
    yield Finding("keep-alive", found, advice=advice if plan.keepalive_s <= PROXY_KEEPALIVE_S else "")


def _memory(plan: Plan, worker_mb: int) -> Finding:
    need, limit = plan.workers * worker_mb, plan.memory_limit_mb
    found = f"{plan.workers} workers x WORKER_MEMORY_MB {worker_mb} = {need} MiB of {limit or 'an unknown limit'}"
    if limit is None or need * GENERATIONS <= limit:
        return Finding("memory", found)
    if need <= limit:
        return Finding("memory", found, advice="restart rather than reload: SIGHUP runs old and new workers together")
    return Finding("memory", found, wrong="lower WEB_CONCURRENCY, or allow more memory")


def _features(project: Project, settings: Settings) -> Finding:
    """Whether every folder of a feature is one of the application's: a folder without its word serves nothing."""
    module, _, factory = project.app.partition(":")
    try:
        features = getattr(import_module(module), factory)(settings).features
    except (ImportError, SyntaxError) as error:
        raise CommandError(f"{module} cannot be imported: {error}") from None
    named = [feature.__name__.rpartition(".")[2] for feature in features]
    folders = [path.parent.name for path in sorted(project.features.glob("*/__init__.py"))]
    if forgotten := [name for name in folders if name not in named]:
        raise CommandError(f"{', '.join(forgotten)} in {project.features} is no feature of the application")
    return Finding("features", ", ".join(named) or "none")


def _files() -> Finding:
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    few = files != resource.RLIM_INFINITY and files < FILES
    advice = f"allow {FILES}: ulimit -n, LimitNOFILE in systemd, ulimits in Compose" if few else ""
    return Finding("open files", f"{files} a process, one for each connection", advice=advice)


def _state_folder(folder: Path) -> Finding:
    found, remote = f"{folder} can be written", network_type(folder)
    if not remote:
        return Finding("state folder", found)
    mend = "keep STATE_DIR on a disk of this host: two hosts may both get a lock there, and lose what was counted"
    return Finding("state folder", f"{found}, and is on {remote}", wrong=mend)


def _port(settings: Settings) -> Finding:
    place = f"{settings.host}:{settings.port}"
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)
    connection = http.client.HTTPConnection(host, settings.port, timeout=PATIENCE_S)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/livez")
        if connection.getresponse().status == http.HTTPStatus.OK:
            return Finding("port", f"{place} is served, and answers /livez")
    connection.close()
    listening.check(settings)
    return Finding("port", f"{place} is free")
