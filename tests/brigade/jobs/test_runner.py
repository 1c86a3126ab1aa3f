"""Jobs of a small project: real runners, killed and stopped in the middle of their work."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from pgqueuer.core.sm import SchedulerManager
from pgqueuer.queries import Queries
from prometheus_client.parser import text_string_to_metric_families

from brigade import ConfigurationError
from brigade.jobs import Job, job
from brigade.jobs.schedules import add_schedule
from local.process import free_port
from local.servers import Postgres, Valkey
from tests.brigade.receiver import CALLER, TRACE, Receiver, variables
from tests.conftest import ROOT

pytestmark = pytest.mark.anyio

FILES = {
    "__init__.py": "",
    "__main__.py": """
import sys
from pathlib import Path
from brigade import Settings
from brigade.cli import main
if __name__ == "__main__":
    sys.exit(main("shop.main:create_app", settings=Settings, features=Path(__file__).parent / "features"))
""",
    "main.py": """
from brigade import Brigade, load_settings
from shop.features import orders
def create_app(settings=None):
    return Brigade(settings or load_settings(), features=[orders])
""",
    "features/__init__.py": "",
    "features/orders/__init__.py": """
from fastapi import APIRouter
from shop.features.orders import jobs
router = APIRouter()
""",
    "features/orders/jobs.py": """
import asyncio
import os
import time
from brigade import JobRun, acquire, job

@job()
async def cook(run: JobRun, dish: int) -> None:
    await asyncio.sleep(0.01)
    async with acquire(run.pg) as connection:
        await connection.execute("INSERT INTO cooked (dish) VALUES ($1)", dish)

@job(attempts=2, backoff_s=0.01)
async def burn(run: JobRun, dish: int) -> None:
    await run.pg.execute("INSERT INTO cooked (dish) VALUES ($1)", dish)
    raise ValueError("The kitchen is on fire.")

class Mute(Exception):
    def __str__(self):
        raise ValueError

@job(attempts=2, backoff_s=0.01)
async def spoil(run: JobRun, how: str) -> None:
    if how == "itself":
        asyncio.current_task().cancel()
        await asyncio.sleep(1000)
    raise {
        "exit": SystemExit(0), "interrupt": KeyboardInterrupt(), "cancelled": asyncio.CancelledError(),
        "NUL": ValueError("a\\0b"), "half a pair": ValueError("\\ud800"), "mute": Mute(),
    }[how]

@job(attempts=1)
async def discard(run: JobRun, dish: int) -> None:
    await run.pg.execute("INSERT INTO cooked (dish) VALUES ($1)", dish)
    await run.pg.execute("DISCARD ALL")

@job()
async def cling(run: JobRun, dish: int) -> None:
    await run.pg.execute("INSERT INTO cooked (dish) VALUES ($1)", dish)
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass

@job(backoff_s=0.01)
async def taste(run: JobRun, dish: int) -> None:
    for _ in range(40):
        await run.pg.execute("SELECT 1")
        await asyncio.sleep(0.05)
    await run.pg.execute("INSERT INTO cooked (dish) VALUES ($1)", dish)

@job()
async def knead(run: JobRun, dish: int) -> None:
    await run.pg.execute("INSERT INTO cooked (dish) VALUES ($1)", dish)
    time.sleep(1000)

@job()
async def stew(run: JobRun, dish: int) -> None:
    await run.progress(1, 2)
    await run.pg.execute("INSERT INTO cooked (dish) VALUES ($1)", dish)
    await asyncio.sleep(1000)

@job(attempts=1)
async def fret(run: JobRun, dish: int) -> None:
    await run.pg.execute("INSERT INTO cooked (dish) VALUES ($1)", dish)
    try:
        await asyncio.sleep(1000)
    except asyncio.CancelledError:
        raise ValueError("A library makes an error of its own of a cancellation.")

@job()
async def add(run: JobRun, a: int, b: int) -> None:
    total, pid = await run.compute(_add, a, b)
    await run.pg.execute("INSERT INTO cooked (dish) VALUES ($1)", total if pid != os.getpid() else -1)

def _add(a: int, b: int) -> tuple[int, int]:
    return a + b, os.getpid()

@job(schedule="* * * * *")
async def sweep(run: JobRun) -> None:
    await run.pg.execute("INSERT INTO cooked (dish) VALUES (1000)")
""",
}

Work = Callable[..., subprocess.Popen[bytes]]


def job_named(name: str) -> Job:
    """Stand in for a feature's `@job`, without importing the feature here."""
    return Job(lambda _: None, f"orders.{name}", 5, 2, None)  # type: ignore[arg-type, return-value]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        file = folder / "shop" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


@pytest.fixture(scope="module")
def url(postgres: Postgres) -> Iterator[str]:
    """A database of this module's own."""
    asyncio.run(_execute(postgres.url, "CREATE DATABASE shop"))
    yield f"{postgres.url.rpartition('/')[0]}/shop"
    asyncio.run(_execute(postgres.url, "DROP DATABASE shop WITH (FORCE)"))


@pytest.fixture(scope="module")
def command(shop: Path, url: str, valkey: Valkey) -> Work:
    def start(*words: str, **variables: str) -> subprocess.Popen[bytes]:
        paths = {"PYTHONPATH": f"{shop}:{ROOT}", "DATABASE_URL": url, "REDIS_URL": valkey.url}
        env = {"PATH": os.environ["PATH"], **paths, "STATE_DIR": str(shop / "state"), **variables}
        with (shop / "log").open("wb" if words != ("work",) else "ab") as log:
            return subprocess.Popen([sys.executable, "-m", "shop", *words], env=env, cwd=shop, stdout=log, stderr=log)

    return start


@pytest.fixture(scope="module")
def migrated(url: str, command: Work) -> str:
    assert command("migrate").wait(30) == 0
    asyncio.run(_execute(url, "CREATE TABLE cooked (dish int NOT NULL)"))
    return url


@pytest.fixture
def work(command: Work) -> Iterator[Work]:
    started: list[subprocess.Popen[bytes]] = []

    def start(**variables: str) -> subprocess.Popen[bytes]:
        started.append(command("work", **variables))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
async def pg(migrated: str) -> AsyncIterator[Any]:
    async with asyncpg.create_pool(migrated, min_size=0) as pool:
        await pool.execute("TRUNCATE cooked, pgqueuer, pgqueuer_log, pgqueuer_schedules")
        yield pool


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(statement)
    await connection.close()


async def until(pg: Any, query: str, *values: object) -> None:
    async with asyncio.timeout(30):
        while not await pg.fetchval(query, *values):  # noqa: ASYNC110 - Postgres knows, and tells nobody
            await asyncio.sleep(0.02)


async def scraped(port: int) -> httpx.Response:
    return await asyncio.to_thread(httpx.get, f"http://127.0.0.1:{port}/metrics")


async def test_a_job_continues_its_requests_trace_and_the_runner_tells_of_jobs_alone(
    pg: Any, work: Work, receiver: Receiver
) -> None:
    """A worker's gauges would be 0 in a runner: `postgres_up` would page somebody, and one more worker be counted."""
    port = free_port()
    carried = json.dumps({"trace": {"traceparent": f"00-{TRACE}-{CALLER}-01"}})
    async with pg.acquire() as connection, connection.transaction():
        number = await job_named("cook").enqueue(connection, dish=1)
        await connection.execute("UPDATE pgqueuer SET headers = $2::jsonb WHERE id = $1", number, carried)
    # More workers than 100 connections would do for, which is not the runner's business.
    work(JOBS_PORT=str(port), WEB_CONCURRENCY="60", REPLICAS="2", **variables(receiver))
    await until(pg, "SELECT EXISTS (SELECT FROM cooked WHERE dish = 1)")
    async with asyncio.timeout(10):
        while not receiver.holds(TRACE, {"job orders.cook"}):  # noqa: ASYNC110 - the receiver tells nobody
            await asyncio.sleep(0.02)
    assert receiver.of(TRACE)["job orders.cook"].parent_span_id.hex() == CALLER
    async with asyncio.timeout(10):
        while "postgres_acquire_seconds_count 1.0" not in (answer := await scraped(port)).text:  # noqa: ASYNC110 - it is told each second
            await asyncio.sleep(0.1)
    names = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"jobs", "jobs_oldest_seconds", "jobs_done"} <= names
    assert names & {"postgres_up", "worker_cpu_cores", "event_loop_stall_seconds", "http_connections"} == set()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")


async def test_no_job_is_lost_by_kill_9(pg: Any, work: Work) -> None:
    async with pg.acquire() as connection, connection.transaction():
        for dish in range(300):
            await job_named("cook").enqueue(connection, dish=dish)
    runner = work()
    await until(pg, "SELECT count(*) > 20 FROM cooked")
    runner.kill()
    runner.wait()
    assert await pg.fetchval("SELECT EXISTS (SELECT FROM pgqueuer WHERE status = 'picked')")
    await pg.execute("UPDATE pgqueuer SET heartbeat = now() - interval '1 minute' WHERE status = 'picked'")
    work()
    await until(pg, "SELECT NOT EXISTS (SELECT FROM pgqueuer WHERE entrypoint = 'orders.cook')")
    assert await pg.fetchval("SELECT count(DISTINCT dish) FROM cooked WHERE dish < 300") == 300


async def test_a_job_that_fails_is_retried_then_dead_and_a_person_retries_it(
    pg: Any, work: Work, command: Work, shop: Path
) -> None:
    async with pg.acquire() as connection:
        first = await job_named("burn").enqueue(connection, key="a", dish=7)
        assert await job_named("burn").enqueue(connection, key="a", dish=7) == first
        await job_named("add").enqueue(connection, a=20, b=22)
    runner = work()
    await until(pg, "SELECT status = 'failed' FROM pgqueuer WHERE id = $1", first)
    await until(pg, "SELECT EXISTS (SELECT FROM cooked WHERE dish = 42)")  # in another process
    assert await pg.fetchval("SELECT count(*) FROM cooked WHERE dish = 7") == 2
    command("jobs").wait(30)
    shown = (shop / "log").read_text()
    assert f"{first}  orders.burn" in shown
    assert "The kitchen is on fire." in shown
    assert command("jobs", "retry", f"{first}").wait(30) == 0
    await until(pg, "SELECT count(*) = 4 FROM cooked WHERE dish = 7")
    runner.terminate()
    assert runner.wait(30) == 0


async def test_the_job_of_the_lab_is_done_where_a_feature_has_jobs(pg: Any, work: Work) -> None:
    lab = Job(lambda _: None, "lab.compute", 5, 2, None)  # type: ignore[arg-type, return-value]
    async with pg.acquire() as connection:
        number = await lab.enqueue(connection, iterations=1000)
    work()
    await until(pg, "SELECT EXISTS (SELECT FROM pgqueuer_log WHERE job_id = $1 AND status = 'successful')", number)


async def test_an_outage_of_postgres_makes_no_job_dead(pg: Any, work: Work, postgres: Postgres) -> None:
    async with pg.acquire() as connection:
        number = await job_named("taste").enqueue(connection, dish=9)
    work()
    await until(pg, "SELECT status = 'picked' FROM pgqueuer WHERE id = $1", number)
    await asyncio.to_thread(postgres.stop)
    await asyncio.sleep(1)
    postgres.start()  # of this thread, because the server ends with the one that started it
    await pg.expire_connections()
    await until(pg, "SELECT NOT EXISTS (SELECT FROM pgqueuer WHERE id = $1 AND status <> 'failed')", number)
    assert await pg.fetchval("SELECT count(*) FROM cooked WHERE dish = 9") == 1


async def test_a_schema_that_is_behind_makes_no_job_dead(pg: Any, work: Work) -> None:
    """A job fails at once and has two attempts; it is given up when the migrations are there, and not before."""
    await pg.execute("DELETE FROM alembic_version WHERE version_num = 'brigade_0001'")
    async with pg.acquire() as connection:
        number = await job_named("burn").enqueue(connection, dish=5)
    runner = work()
    await until(pg, "SELECT EXISTS (SELECT FROM cooked WHERE dish = 5)")
    await asyncio.sleep(1.5)  # in which the next attempt would be due
    assert await pg.fetchval("SELECT status::text FROM pgqueuer WHERE id = $1", number) == "picked"
    await pg.execute("INSERT INTO alembic_version VALUES ('brigade_0001')")
    await until(pg, "SELECT status = 'failed' FROM pgqueuer WHERE id = $1", number)
    assert await pg.fetchval("SELECT count(*) FROM cooked WHERE dish = 5") == 2
    runner.terminate()
    assert runner.wait(30) == 0


async def test_a_runner_outlives_a_schema_without_its_tables(pg: Any, work: Work, shop: Path) -> None:
    said = (shop / "log").stat().st_size
    runner = work()
    await until(pg, "SELECT EXISTS (SELECT FROM pgqueuer_schedules)")
    await pg.execute("ALTER TABLE pgqueuer RENAME TO away")
    async with asyncio.timeout(30):
        while b"interrupted" not in (shop / "log").read_bytes()[said:]:  # noqa: ASYNC110 - the file tells nobody
            await asyncio.sleep(0.1)
    assert runner.poll() is None
    await pg.execute("ALTER TABLE away RENAME TO pgqueuer")
    async with pg.acquire() as connection:
        await job_named("cook").enqueue(connection, dish=3)
    await until(pg, "SELECT EXISTS (SELECT FROM cooked WHERE dish = 3)")


@pytest.mark.parametrize("number_of_signal", [signal.SIGTERM, signal.SIGHUP])
async def test_a_stop_gives_back_what_does_not_end_in_time(
    pg: Any, work: Work, number_of_signal: signal.Signals
) -> None:
    async with pg.acquire() as connection:
        number = await job_named("stew").enqueue(connection, dish=1)
        await job_named("fret").enqueue(connection, dish=2)
    runner = work(GRACEFUL_TIMEOUT_S="2.5", REQUEST_TIMEOUT_S="0.1")
    await until(pg, "SELECT count(*) = 2 FROM cooked")
    row = await pg.fetchrow("SELECT status::text, headers->'progress' AS progress FROM pgqueuer WHERE id = $1", number)
    assert tuple(row) == ("picked", '{"of": 2, "done": 1}')
    runner.send_signal(number_of_signal)
    assert runner.wait(30) == 0
    rows = await pg.fetch("SELECT status::text, headers->>'starts' AS starts FROM pgqueuer")
    assert [tuple(row) for row in rows] == [("queued", "0")] * 2


async def test_whatever_a_job_raises_is_its_own_failure(pg: Any, work: Work) -> None:
    """It ends no runner, leaves no other job without an end, and is tried again."""
    kinds = ["exit", "interrupt", "cancelled", "itself", "NUL", "half a pair", "mute"]
    async with pg.acquire() as connection:
        spoilt = [await job_named("spoil").enqueue(connection, how=how) for how in kinds]
        for dish in range(6):
            await job_named("cook").enqueue(connection, dish=dish)
    runner = work()
    await until(pg, "SELECT count(*) = 7 FROM pgqueuer WHERE status = 'failed' AND id = ANY($1::bigint[])", spoilt)
    await until(pg, "SELECT NOT EXISTS (SELECT FROM pgqueuer WHERE status <> 'failed')")
    assert runner.poll() is None
    assert await pg.fetchval("SELECT count(*) FROM cooked") == 6
    starts = await pg.fetchval("SELECT array_agg(DISTINCT headers->>'starts') FROM pgqueuer")
    assert starts == ["2"]


async def test_a_job_that_discards_its_session_is_the_only_one_that_notices(pg: Any, work: Work, shop: Path) -> None:
    (shop / "log").write_text("")
    async with pg.acquire() as connection:
        for dish in range(30):
            await job_named("discard").enqueue(connection, dish=dish)
    runner = work()
    await until(pg, "SELECT NOT EXISTS (SELECT FROM pgqueuer)")
    assert await pg.fetchval("SELECT count(*) FROM cooked") == 30
    assert runner.poll() is None
    assert "interrupted" not in (shop / "log").read_text()


@pytest.mark.parametrize("name", ["cling", "knead"])
async def test_a_job_that_will_not_be_cancelled_does_not_hold_a_stop(
    pg: Any, work: Work, shop: Path, name: str
) -> None:
    (shop / "log").write_text("")
    async with pg.acquire() as connection:
        await job_named(name).enqueue(connection, dish=1)
    runner = work(GRACEFUL_TIMEOUT_S="2.5", REQUEST_TIMEOUT_S="0.1")
    await until(pg, "SELECT EXISTS (SELECT FROM cooked)")
    runner.terminate()
    assert await asyncio.to_thread(runner.wait, 20) == 1
    assert "most recent call first" in (shop / "log").read_text()


async def test_a_job_whose_runner_dies_each_time_is_dead(pg: Any, work: Work) -> None:
    async with pg.acquire() as connection:
        number = await job_named("stew").enqueue(connection, dish=1)
    await pg.execute("UPDATE pgqueuer SET headers = headers || '{\"starts\": 5}'")
    work()
    await until(pg, "SELECT status = 'failed' FROM pgqueuer WHERE id = $1", number)
    assert await pg.fetchval("SELECT count(*) FROM cooked WHERE dish = 1") == 0


async def test_a_job_is_rolled_back_with_what_it_belongs_to(pg: Any) -> None:
    async with pg.acquire() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await job_named("cook").enqueue(connection, dish=1)
        await transaction.rollback()
    assert await pg.fetchval("SELECT count(*) FROM pgqueuer") == 0


REFUSE_JOBS = """
CREATE FUNCTION refuse() RETURNS trigger AS $$ BEGIN PERFORM nextval('refusals'); RAISE disk_full; END $$ LANGUAGE plpgsql;
CREATE SEQUENCE refusals;
CREATE TRIGGER refuse BEFORE INSERT ON pgqueuer FOR EACH ROW EXECUTE FUNCTION refuse()
"""


async def test_a_schedule_enqueues_although_a_clock_was_ahead_and_postgres_refuses_at_first(
    pg: Any, work: Work
) -> None:
    ahead = "INSERT INTO pgqueuer_schedules (expression, entrypoint, next_run) VALUES ($1, $2, now() + interval '1 y')"
    await pg.execute(ahead, "* * * * *", "orders.sweep")
    runner = work()
    await until(pg, "SELECT next_run < now() + interval '2 minutes' FROM pgqueuer_schedules")
    runner.terminate()
    runner.wait(30)
    await pg.execute("UPDATE pgqueuer_schedules SET next_run = now() - interval '1 s'")
    await pg.execute(REFUSE_JOBS)
    work()
    await until(pg, "SELECT is_called FROM refusals")
    await pg.execute("DROP FUNCTION refuse CASCADE; DROP SEQUENCE refusals")
    await until(pg, "SELECT EXISTS (SELECT FROM cooked WHERE dish = 1000)")


@pytest.mark.parametrize("schedule", ["every day", "61 * * * *", "* * * *", "0 17 3 * * *"])
def test_a_schedule_that_is_not_of_cron_is_refused_by_the_name_of_its_job(schedule: str) -> None:
    weigh = Job(lambda _: None, "orders.weigh", 5, 2, schedule)  # type: ignore[arg-type, return-value]
    with pytest.raises(ConfigurationError, match="The schedule of orders"):
        add_schedule(SchedulerManager(None), weigh, schedule, None)  # type: ignore[arg-type]


async def test_jobs_that_another_program_has_enqueued_are_done_or_shown(
    pg: Any, work: Work, command: Work, shop: Path
) -> None:
    """They may lack headers, hold no JSON and no UTF-8, or be of a feature that has been removed."""
    enqueue = "INSERT INTO pgqueuer (priority, status, entrypoint, payload) VALUES (0, 'queued', $1, $2)"
    await pg.execute(enqueue, "orders.cook", b'{"dish": 555}')
    await pg.execute(enqueue, "orders.burn", b"\xff\x1b[31m")
    await pg.execute(enqueue, "removed.pack", b"{}")
    port = free_port()
    work(JOBS_PORT=f"{port}")
    await until(pg, "SELECT EXISTS (SELECT FROM cooked WHERE dish = 555)")
    await until(pg, "SELECT EXISTS (SELECT FROM pgqueuer WHERE status = 'failed')")
    async with httpx.AsyncClient() as client, asyncio.timeout(30):
        while (  # noqa: ASYNC110 - as Prometheus does
            'jobs{name="removed.pack",state="waiting"} 1.0'
            not in (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        ):
            await asyncio.sleep(0.1)
    (shop / "log").write_text("")
    assert command("jobs").wait(30) == 0
    assert "\\xff\\x1b[31m" in (shop / "log").read_text()


async def test_more_dead_jobs_than_are_shown_are_counted_and_no_id_is_too_large(
    pg: Any, command: Work, shop: Path
) -> None:
    dead = "INSERT INTO pgqueuer (priority, status, entrypoint) SELECT 0, 'failed', 'orders.cook' FROM generate_series(1, 150)"
    await pg.execute(dead)
    assert command("jobs").wait(30) == 0
    assert "150 dead, of which" in (shop / "log").read_text()
    assert command("jobs", "retry", f"{2**63}").wait(30) == 1
    assert (shop / "log").read_text() == "0 of 1 queued again.\n"


def test_pauses_are_bounded_after_any_number_of_attempts() -> None:
    assert [Job(lambda _: None, "x", 9999, 2, None).pause_s(n) for n in (1, 2, 9999)] == [2, 4, 3600]  # type: ignore[arg-type, return-value]


def test_only_what_waits_can_be_a_job_and_it_has_an_attempt() -> None:
    with pytest.raises(TypeError, match="is not async"):
        job()(print)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least one attempt"):
        job(attempts=0)


async def test_the_tables_are_those_that_the_library_wants(pg: Any) -> None:
    plan = await Queries.from_asyncpg_pool(pg).plan_upgrade()
    assert not plan.statements


def test_a_worker_does_not_load_the_library() -> None:
    code = "import sys, service.main; sys.exit('pgqueuer' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
