"""The overlay with PgBouncer, on the same database: a release of it that keeps prepared statements."""

from collections.abc import Iterator

import pytest

from tests.e2e.compose.stack import Stack

FILES = "docker-compose.yml:deploy/compose.pgbouncer.yml"


@pytest.fixture(scope="module")
def pooled(stack: Stack) -> Iterator[Stack]:
    stack.shell("docker compose up --detach --build --wait", COMPOSE_FILE=FILES)
    yield stack
    stack.up("api")
    stack.compose("rm", "--force", "--stop", "pgbouncer", COMPOSE_FILE=FILES)


def test_service_works_by_way_of_the_pooler_and_migrations_around_it(pooled: Stack) -> None:
    code = pooled.create_link().json()["code"]
    assert [pooled.get(f"/r/{code}").status_code for _ in range(20)] == [307] * 20
    plan = pooled.workers()["plan"]
    assert plan["connection_budget"]["value"] == 400
    doctor = pooled.execute(pooled.container("api"), "python", "-m", "service", "doctor")
    assert "by way of a pooler" in doctor
    again = pooled.compose("run", "--rm", "--no-TTY", "migrate", COMPOSE_FILE=FILES)
    assert "The schema is up to date." in again.stdout


def test_statements_have_a_deadline(pooled: Stack) -> None:
    ask = 'PGPASSWORD=$POSTGRES_PASSWORD psql postgresql://brigade@127.0.0.1:6432/brigade -Atc "SHOW statement_timeout"'
    assert pooled.execute(pooled.container("pgbouncer"), "sh", "-c", ask) == "10s"
