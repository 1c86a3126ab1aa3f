from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from brigade.settings import ConfigurationError, Settings
from brigade.sizing import HEADROOM, POSTGRES_RESERVED, Plan, as_table, make_plan
from brigade.sizing.limits import Limits

pytestmark = pytest.mark.usefixtures("bare_environment")

MIB = 1024**2
ROOMY = 64 * 1024 * MIB


def settings(**values: Any) -> Settings:
    return Settings.model_validate(values)


def machine(cpus: float = 4, memory_bytes: int | None = ROOMY, source: str = "affinity") -> Limits:
    return Limits(cpus, source, memory_bytes, "machine")


@pytest.mark.parametrize(("cpus", "workers"), [(0.5, 1), (1, 1), (1.5, 1), (1.99, 1), (3.0, 3), (8, 8)])
def test_workers_are_the_whole_cpus(cpus: float, workers: int) -> None:
    assert make_plan(settings(), machine(cpus)).workers == workers


def test_workers_bound_by_memory_say_so() -> None:
    plan = make_plan(
        settings(worker_memory_mb=200), Limits(8, "affinity", 512 * MIB, "cgroup /sys/fs/cgroup/memory.max")
    )
    assert plan.workers == 2
    assert plan.notes["workers"] == (
        "cgroup",
        "bound by memory: 512 MiB / WORKER_MEMORY_MB 200, from /sys/fs/cgroup/memory.max",
    )


def test_workers_bound_by_the_connection_budget_say_so() -> None:
    plan = make_plan(settings(db_connection_budget=7), machine(8))
    assert (plan.workers, plan.db_pool) == (3, 1)
    assert plan.notes["workers"][0] == "budget"


def test_one_worker_runs_in_too_little_memory() -> None:
    assert make_plan(settings(), machine(4, 16 * MIB)).workers == 1


def test_web_concurrency_is_obeyed_beyond_cpus_and_memory() -> None:
    plan = make_plan(settings(web_concurrency=6), machine(1, 16 * MIB))
    assert plan.workers == 6
    assert plan.notes["workers"][0] == "environment"


def test_budget_of_a_pooler_may_exceed_what_postgres_has_and_says_what_that_is() -> None:
    given = settings(web_concurrency=2, db_connection_budget=400)
    plan = make_plan(given, machine(), max_connections=100, pooled=True)
    assert plan.db_pool == 100
    assert "may have 92 to Postgres" in plan.notes["connection_budget"][1]
    with pytest.raises(ConfigurationError, match="more than Postgres has"):
        make_plan(given, machine(), max_connections=100)


def test_pool_leaves_room_for_a_reload_and_for_replicas() -> None:
    plan = make_plan(settings(web_concurrency=4, replicas=3, db_connection_budget=100), machine())
    assert plan.db_pool == 100 // (4 * 3 * 2)


def test_budget_defaults_to_what_the_server_has_to_give() -> None:
    assert make_plan(settings(), machine()).connection_budget == 100 - POSTGRES_RESERVED - HEADROOM
    plan = make_plan(settings(), machine(), max_connections=400, reserved=10)
    assert plan.connection_budget == 400 - 10 - HEADROOM
    assert plan.notes["connection_budget"][0] == "server"


@pytest.mark.parametrize(
    ("values", "max_connections", "named"),
    [
        ({"web_concurrency": 50, "db_connection_budget": 20}, None, ["WEB_CONCURRENCY to 10", "DB_CONNECTION_BUDGET"]),
        ({"web_concurrency": 50}, 30, ["WEB_CONCURRENCY to 11", "max_connections"]),
        ({"db_connection_budget": 93}, 100, ["DB_CONNECTION_BUDGET", "to 92", "max_connections 100"]),
        ({"db_connection_budget": 1}, None, ["DB_CONNECTION_BUDGET"]),
        ({"db_connection_budget": 5, "replicas": 3}, None, ["REPLICAS", "DB_CONNECTION_BUDGET"]),
        ({}, 9, ["DB_CONNECTION_BUDGET is 1", "max_connections"]),
        ({}, 5, ["DB_CONNECTION_BUDGET is 0", "max_connections"]),
        ({"jobs_runners": 1}, 20, ["DB_CONNECTION_BUDGET is 0", "JOBS_RUNNERS", "JOBS_CONCURRENCY", "max_connections"]),
        ({"jobs_runners": 1, "db_connection_budget": 4}, 20, ["JOBS_RUNNERS", "max_connections 20, less 20"]),
    ],
)
def test_budget_that_cannot_be_kept_is_refused_in_one_sentence(
    values: dict[str, Any], max_connections: int | None, named: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        make_plan(settings(**values), machine(), max_connections=max_connections, jobs="jobs_runners" in values)
    message = str(refusal.value)
    assert all(name in message for name in named), message
    assert message.endswith(".")
    assert message.count(". ") == 0
    assert "\n" not in message


def test_source_of_a_number_is_where_it_was_set() -> None:
    plan = make_plan(settings(keepalive_s=90), machine(1.5, source="cgroup /sys/fs/cgroup/cpu.max"))
    sources = {name: row["source"] for name, row in plan.as_json().items()}
    assert sources["keepalive_s"] == "environment"
    assert sources["cpu_lane_queue"] == "default"
    assert sources["cpus"] == sources["workers"] == "cgroup"
    assert "/sys/fs/cgroup/cpu.max" in plan.as_json()["cpus"]["why"]


def test_table_has_a_line_for_every_number_and_a_reason_on_each() -> None:
    plan = make_plan(settings(), machine(memory_bytes=None))
    header, *lines = as_table(plan).splitlines()
    assert header.split() == ["name", "value", "source", "why"]
    assert [line.split()[0] for line in lines] == list(plan.as_json())
    assert all(len(line.split(maxsplit=3)) == 4 for line in lines)


@given(
    cpus=st.floats(0.01, 512),
    memory_bytes=st.none() | st.integers(1, 1 << 44),
    web_concurrency=st.none() | st.integers(1, 200),
    replicas=st.integers(1, 20),
    budget=st.none() | st.integers(1, 5000),
    max_connections=st.none() | st.integers(1, 5000),
    request_timeout_s=st.floats(0.1, 600),
    slack_s=st.floats(2.01, 60),
)
def test_plan_keeps_its_promises_or_is_refused(
    cpus: float,
    memory_bytes: int | None,
    web_concurrency: int | None,
    replicas: int,
    budget: int | None,
    max_connections: int | None,
    request_timeout_s: float,
    slack_s: float,
) -> None:
    given_settings = settings(
        web_concurrency=web_concurrency,
        replicas=replicas,
        db_connection_budget=budget,
        request_timeout_s=request_timeout_s,
        graceful_timeout_s=request_timeout_s + slack_s,
    )
    plan = _plan_or_none(given_settings, machine(cpus, memory_bytes), max_connections)
    assume(plan is not None)
    assert plan is not None
    assert plan.workers >= 1
    assert plan.db_pool >= 1
    assert plan.db_pool * plan.workers * plan.replicas * 2 <= plan.connection_budget
    assert (plan.db_pool + 1) * plan.workers * plan.replicas * 2 > plan.connection_budget
    if max_connections is not None:
        assert plan.connection_budget + POSTGRES_RESERVED < max_connections
    if web_concurrency is None:
        assert plan.workers <= max(1, cpus)
    assert 0 < plan.statement_timeout_s < plan.request_timeout_s < plan.drain_timeout_s < plan.graceful_timeout_s


def _plan_or_none(chosen: Settings, limits: Limits, max_connections: int | None) -> Plan | None:
    try:
        return make_plan(chosen, limits, max_connections=max_connections)
    except ConfigurationError:
        return None


@given(fewer=st.floats(0.01, 64), more=st.floats(0.01, 64), memory_bytes=st.integers(MIB, 1 << 40))
def test_more_cpus_never_mean_fewer_workers(fewer: float, more: float, memory_bytes: int) -> None:
    fewer, more = sorted((fewer, more))
    low, high = (make_plan(settings(), machine(cpus, memory_bytes)) for cpus in (fewer, more))
    assert low.workers <= high.workers
