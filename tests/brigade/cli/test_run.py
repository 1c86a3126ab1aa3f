import json
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import asyncpg
import httpx
import psutil
import pytest
from redis.asyncio import Redis

from local.servers import Postgres
from tests.brigade.cli.conftest import Run, add_migration, query
from tests.conftest import StartService
from tests.running import RunningService


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def refused(done: "subprocess.CompletedProcess[str]", *named: str) -> None:
    """In one sentence, after at most a line about waiting, and before Gunicorn."""
    lines = [line for line in done.stderr.splitlines() if not line.startswith('{"event":"waiting for a server"')]
    assert done.returncode in {1, 2}
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("service: ")
    assert all(name in lines[0] for name in named), lines[0]
    assert "s3cret" not in done.stderr + done.stdout
    assert done.stdout == ""


def test_port_in_use_is_refused_with_its_number(run: Run, taken_port: int) -> None:
    refused(run("run", PORT=taken_port), f"Port {taken_port}", "set PORT")


@pytest.mark.parametrize("asked", ["doctor", "rehearse"])
def test_a_command_needs_and_makes_no_folder_of_metrics(run: Run, free_port: int, tmp_path: Path, asked: str) -> None:
    """The image names one that only the master makes."""
    done = run(asked, PORT=free_port, PROMETHEUS_MULTIPROC_DIR=tmp_path / "metrics")
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "metrics").exists()


def test_file_that_a_variable_of_libpq_names_is_refused_where_it_is_not(
    run: Run, free_port: int, redis_url: str, tmp_path: Path
) -> None:
    """It would look like a server that does not answer."""
    url = "postgresql://user@127.0.0.1:1/database"
    done = run("run", PORT=free_port, DATABASE_URL=url, REDIS_URL=redis_url, PGSSLCERT=tmp_path / "none")
    refused(done, "PGSSLCERT", str(tmp_path / "none"))


@pytest.mark.parametrize("parameter", ["schema=public", "timezone=Nowhere", "max_connections=5", "options=x"])
def test_url_that_no_session_can_have_is_refused(
    run: Run, free_port: int, database_url: str, redis_url: str, parameter: str
) -> None:
    """A service that waited for Postgres to take it would wait for ever."""
    url = f"{database_url}{'&' if '?' in database_url else '?'}{parameter}"
    done = run("run", PORT=free_port, DATABASE_URL=url, REDIS_URL=redis_url)
    refused(done, "DATABASE_URL", "refuses")


@pytest.fixture(scope="module")
def narrow_database(postgres: Postgres) -> Iterator[str]:
    """It lacks most letters that there are."""
    query(postgres.url, "CREATE DATABASE narrow TEMPLATE template0 LOCALE_PROVIDER libc ENCODING LATIN1 LOCALE 'C'")
    yield f"{postgres.url.rpartition('/')[0]}/narrow"
    query(postgres.url, "DROP DATABASE narrow WITH (FORCE)")


@pytest.mark.parametrize("asked", ["run", "doctor"])
def test_database_that_cannot_store_all_text_is_refused(
    run: Run, narrow_database: str, redis_url: str, free_port: int, asked: str
) -> None:
    """A client that sends letters which the database lacks would be answered 500."""
    done = run(asked, PORT=free_port, DATABASE_URL=narrow_database, REDIS_URL=redis_url)
    assert done.returncode in {1, 2}
    assert "encoding is LATIN1" in (done.stderr if asked == "run" else done.stdout)
    assert "Traceback" not in done.stderr


def test_number_of_a_redis_database_that_is_not_there_is_refused(
    run: Run, free_port: int, database_url: str, redis_url: str
) -> None:
    url = f"{redis_url.rpartition('/')[0]}/9999"
    done = run("run", PORT=free_port, DATABASE_URL=database_url, REDIS_URL=url)
    refused(done, "REDIS_URL", "DB index is out of range")


def test_port_of_a_runner_that_is_in_use_is_refused(
    run: Run, taken_port: int, database_url: str, redis_url: str
) -> None:
    done = run("work", JOBS_PORT=taken_port, DATABASE_URL=database_url, REDIS_URL=redis_url)
    refused(done, f"JOBS_PORT {taken_port}")


@pytest.mark.parametrize("host", ["192.0.2.1", "a" * 64 + ".example"])
def test_host_that_is_not_of_this_machine_is_refused(run: Run, host: str) -> None:
    refused(run("run", HOST=host), "HOST", host)


def test_certificate_that_cannot_be_read_is_refused(run: Run, free_port: int, database_url: str) -> None:
    """It would look like a Redis that is away."""
    url = "rediss://127.0.0.1:1/0?ssl_ca_certs=/nowhere"
    refused(
        run("run", PORT=free_port, DATABASE_URL=database_url, REDIS_URL=url), "REDIS_URL", "ssl_ca_certs", "/nowhere"
    )


@pytest.mark.parametrize("password", ["s3/cret", "s3#s3cret"])
def test_password_that_breaks_its_url_is_not_shown(run: Run, free_port: int, password: str) -> None:
    done = run("run", PORT=free_port, DATABASE_URL=f"postgresql://user:{password}@127.0.0.1:9/db")
    refused(done, "DATABASE_URL")
    assert "s3" not in done.stderr


def test_schema_that_lacks_a_migration_is_refused(run: Run, empty_database: str, code: Path, free_port: int) -> None:
    add_migration(code, "alpha", 1, "op.execute('SELECT 1')")
    done = run("run", code=code, PORT=free_port, DATABASE_URL=empty_database)
    refused(done, "alpha_0001", "python -m service migrate")


def test_budget_over_what_the_server_has_is_refused(
    run: Run, database_url: str, redis_url: str, free_port: int
) -> None:
    backends = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": free_port}
    refused(run("run", **backends, DB_CONNECTION_BUDGET=10_000), "DB_CONNECTION_BUDGET", "max_connections")
    refused(run("run", **backends, WEB_CONCURRENCY=1000), "WEB_CONCURRENCY", "max_connections")


@pytest.mark.anyio
async def test_more_copies_than_replicas_are_refused(
    run: Run, database_url: str, redis_url: str, redis: "Redis", free_port: int
) -> None:
    """Twice as many are let in, as an update runs old and new together."""
    seconds, _ = await redis.time()
    await redis.zadd("{test:workers}:copies", {"one": seconds, "another": seconds, "one-long-gone": seconds - 60})
    backends = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": free_port, "DEPLOYMENT": "test"}
    done = await anyio.to_thread.run_sync(lambda: run("run", **backends))
    refused(done, "REPLICAS is 1", "3 copies", "set REPLICAS to 3")


@pytest.mark.anyio
async def test_run_prints_the_plan_and_becomes_gunicorn_with_as_many_workers(
    start_service: StartService, pg: "asyncpg.Pool[asyncpg.Record]"
) -> None:
    service = start_service(workers=3)
    assert "gunicorn" in " ".join(psutil.Process(service.pid).cmdline())
    assert len(service.worker_pids()) == 3
    plan = {name: row["value"] for name, row in json.loads(service.log().splitlines()[0])["plan"].items()}
    assert plan["workers"] == 3
    most = await pg.fetchval("SELECT current_setting('max_connections')::int")
    assert plan["db_pool"] * 3 * 2 <= plan["connection_budget"] < most


def answers(service: "RunningService", path: str) -> tuple[int, str]:
    """Of a service that may have to wait for a server before it starts."""
    deadline = time.monotonic() + 30
    while True:
        assert service.running, service.log()
        with suppress(httpx.TransportError):
            answer = httpx.get(f"{service.url}{path}", timeout=5)
            return answer.status_code, answer.text
        assert time.monotonic() < deadline, service.log()
        time.sleep(0.05)


AWAY = ["silent", "refuses", "password authentication failed", "does not exist"]


@pytest.mark.drives("links")
@pytest.mark.parametrize("how", AWAY)
def test_service_starts_while_postgres_is_away_or_will_not_have_it(
    start_service: StartService, taken_port: int, database_url: str, how: str
) -> None:
    """With what Redis knows, although the copies that filled it have gone."""
    before = start_service(workers=1, DEPLOYMENT="shop")
    httpx.post(f"{before.url}/links", json={"url": "http://example.com/", "code": "known"})
    assert httpx.get(f"{before.url}/r/known").status_code == 307
    before.stop()
    place, user = database_url.rpartition("@")[2], database_url.rpartition("@")[0]
    elsewhere = {
        "silent": f"{user}@127.0.0.1:{taken_port}/{place.rpartition('/')[2]}",
        "refuses": f"{user}@127.0.0.1:9/{place.rpartition('/')[2]}",
        "password authentication failed": f"{user}s3cret@{place}",
        "does not exist": f"{user}@{place}_gone",
    }[how]
    service = start_service(workers=1, ready=False, DATABASE_URL=elsewhere, DEPLOYMENT="shop")
    status, _ = answers(service, "/r/known")
    assert status == 307
    assert answers(service, "/livez")[0] == 200
    assert "Starting without it" in service.log()
    assert "s3cret" not in service.log()


@pytest.mark.drives("links")
@pytest.mark.parametrize("url", ["redis://:s3cret@127.0.0.1:9/0", "{}"])
def test_service_starts_while_redis_is_away_or_refuses_the_login(
    start_service: StartService, redis_url: str, url: str
) -> None:
    wrong = redis_url.replace("redis://:", "redis://:s3cret")
    service = start_service(workers=1, ready=False, REDIS_URL=url.format(wrong))
    assert answers(service, "/readyz") == (200, '{"status":"degraded","postgres":"ok","redis":"unavailable"}')
    made = httpx.post(f"{service.url}/links", json={"url": "http://example.com/", "code": "kept"})
    assert made.status_code == 201
    assert httpx.get(f"{service.url}/r/kept").status_code == 307
    assert "Starting without it" in service.log()
    assert "s3cret" not in service.log()
