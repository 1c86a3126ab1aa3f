"""Whatever Postgres or Redis answers, a running service does what it can, and is itself again when they are."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from brigade.testing import CreateApp, RunningService, new_database
from local.servers import Postgres, Valkey
from tests.brigade.cli.conftest import query
from tests.brigade.ops.test_metrics import families
from tests.brigade.ops.test_ops import eventually
from tests.brigade.stores.faults import ROLE, PostgresUnderTest, RedisUnderTest
from tests.brigade.stores.refusing_redis import RefusingRedis
from tests.conftest import one_worker, running

pytestmark = pytest.mark.drives("links")

ROUTES = {
    "cached": ("GET", "/r/cached{number}"),
    "uncached": ("GET", "/r/uncached{number}"),
    "read": ("GET", "/links/cached{number}"),
    "list": ("GET", "/links"),
    "create": ("POST", "/links"),
    "delete": ("DELETE", "/links/deleted{number}"),
    "qr": ("GET", "/links/cached{number}/qr"),
    "livez": ("GET", "/livez"),
    "readyz": ("GET", "/readyz"),
    "metrics": ("GET", "/metrics"),
    "workers": ("GET", "/workers"),
}
ALL = set(ROUTES)
MACHINES = {"livez", "metrics", "workers"}
WITHOUT_POSTGRES = {"cached", "qr", "readyz", *MACHINES}
WITHOUT_REDIS = ALL - {"delete"}
ANSWERED_WITHIN_S = 3
"""The bound is one second; the machine that tests may be slow."""


@dataclass(frozen=True)
class Fault:
    cause: Callable[[PostgresUnderTest, RedisUnderTest], Any]
    works: set[str]
    """Routes that must do their work meanwhile. Any other may answer 503, and none may answer 500."""
    gauges: dict[str, float] = field(default_factory=dict)
    refuses: str = ""
    """The store that is counted as refusing."""


def postgres(spoil: str, undo: str, **options: Any) -> Callable[[PostgresUnderTest, RedisUnderTest], Any]:
    return lambda pg, _: pg.until(spoil, undo, **options)()


DOWN = {"postgres_up": 0.0}
FULL = "CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE SQLSTATE '53100'; END $$"
ON_WRITE = "CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE OR DELETE ON links EXECUTE FUNCTION full_disk()"
OLDER = "DO $do$ BEGIN ALTER TABLE links RENAME expires_at TO later; ALTER TABLE click_batches RENAME TO later; {}; END $do$"
NEWER = """
DO $do$ BEGIN
    ALTER TABLE links RENAME later TO expires_at; ALTER TABLE later RENAME TO click_batches;
    INSERT INTO alembic_version VALUES ('links_0001') ON CONFLICT DO NOTHING;
END $do$
"""
READS = WITHOUT_POSTGRES | {"uncached", "read", "list"}

POSTGRES = {
    "silent": Fault(lambda pg, _: pg.silent(), WITHOUT_POSTGRES, DOWN),
    "refusing": Fault(lambda pg, _: pg.refusing(), WITHOUT_POSTGRES, DOWN),
    "another password": Fault(
        postgres(f"ALTER ROLE {ROLE} PASSWORD 'x'", f"ALTER ROLE {ROLE} PASSWORD 's3cret'"),
        WITHOUT_POSTGRES, DOWN, "postgres",
    ),
    "role gone": Fault(
        postgres(f"ALTER ROLE {ROLE} RENAME TO gone", f"ALTER ROLE gone RENAME TO {ROLE}"),
        WITHOUT_POSTGRES, DOWN, "postgres",
    ),
    "no login": Fault(
        postgres(f"ALTER ROLE {ROLE} NOLOGIN", f"ALTER ROLE {ROLE} LOGIN"), WITHOUT_POSTGRES, DOWN, "postgres"
    ),
    "database gone": Fault(lambda pg, _: pg.gone(), WITHOUT_POSTGRES, DOWN, "postgres"),
    "pg_hba": Fault(lambda pg, _: pg.barred(), WITHOUT_POSTGRES, DOWN, "postgres"),
    "out of connections": Fault(
        postgres(f"ALTER ROLE {ROLE} CONNECTION LIMIT 0", f"ALTER ROLE {ROLE} CONNECTION LIMIT -1"),
        WITHOUT_POSTGRES, DOWN, "postgres",
    ),
    "permission denied": Fault(
        postgres(f"REVOKE ALL ON links FROM {ROLE}", f"GRANT ALL ON links TO {ROLE}", inside=True),
        WITHOUT_POSTGRES, refuses="postgres",
    ),
    "read-only": Fault(
        postgres(
            f"ALTER ROLE {ROLE} SET default_transaction_read_only = on",
            f"ALTER ROLE {ROLE} RESET default_transaction_read_only",
        ),
        READS,
    ),
    "disk full": Fault(
        postgres(f"DO $do$ BEGIN {FULL}; {ON_WRITE}; END $do$", "DROP FUNCTION full_disk CASCADE", inside=True), READS, refuses="postgres"
    ),
    "terminated": Fault(postgres("SELECT 1", "SELECT 1"), READS),
    "schema of the next version": Fault(
        postgres("ALTER TABLE links ADD COLUMN note text", "ALTER TABLE links DROP COLUMN note", inside=True), ALL
    ),
    "schema of the version before": Fault(
        postgres(OLDER.format("DELETE FROM alembic_version WHERE version_num = 'links_0001'"), NEWER, inside=True),
        WITHOUT_POSTGRES, refuses="postgres",
    ),
}  # fmt: skip

REDIS = {
    "silent": Fault(lambda _, redis: redis.silent(), WITHOUT_REDIS, {"redis_breaker_open": 1}),
    "refusing": Fault(lambda _, redis: redis.refusing(), WITHOUT_REDIS, {"redis_breaker_open": 1}),
    "WRONGPASS": Fault(
        lambda _, redis: redis.with_rules("resetpass", ">another")(), WITHOUT_REDIS, {"redis_breaker_open": 1}, "redis"
    ),
    "NOPERM": Fault(lambda _, redis: redis.with_rules("-@all")(), WITHOUT_REDIS, refuses="redis"),
    "NOPERM for scripts": Fault(lambda _, redis: redis.with_rules("-eval")(), ALL, refuses="redis"),
    "READONLY": Fault(lambda _, redis: redis.replica(), WITHOUT_REDIS, refuses="redis"),
    "OOM": Fault(lambda _, redis: redis.configured("maxmemory", 1, 0)(), WITHOUT_REDIS, refuses="redis"),
    "BUSY": Fault(lambda _, redis: redis.busy(), WITHOUT_REDIS, refuses="redis"),
    "NOREPLICAS": Fault(
        lambda _, redis: redis.configured("min-replicas-to-write", 1, 0)(), WITHOUT_REDIS, refuses="redis"
    ),
    "LOADING": Fault(
        lambda _, redis: redis.way.answering("LOADING Redis is loading the dataset in memory"),
        WITHOUT_REDIS, {"redis_breaker_open": 1},
    ),
    "MISCONF": Fault(
        lambda _, redis: redis.way.answering("MISCONF Errors writing to the AOF file: No space left on device"),
        WITHOUT_REDIS, refuses="redis",
    ),
    "unknown command": Fault(
        lambda _, redis: redis.way.answering("ERR unknown command 'EVAL', with args beginning with:"),
        WITHOUT_REDIS, refuses="redis",
    ),
    "WRONGTYPE": Fault(lambda _, redis: redis.spoilt("LPUSH", "an item")(), ALL),
    "a value it cannot read": Fault(lambda _, redis: redis.spoilt("SET", "zzz")(), ALL),
}  # fmt: skip

FAULTS = {f"Postgres: {name}": fault for name, fault in POSTGRES.items()} | {
    f"Redis: {name}": fault for name, fault in REDIS.items()
}


@dataclass
class Stage:
    service: RunningService
    postgres: PostgresUnderTest
    redis: RedisUnderTest
    number: int = 0
    """The number of the test, which has links of its own that no worker remembers."""
    said: int = 0
    """Letters of the log before this test."""

    def log(self) -> str:
        return self.service.log()[self.said :]


@pytest.fixture(scope="module")
def service(
    postgres: Postgres, valkey: Valkey, create_app: CreateApp, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """One service for all faults, because after each of them all is well again."""
    with new_database(running(postgres, valkey), create_app) as url, RefusingRedis(valkey.port) as way:
        stores = PostgresUnderTest(postgres, url), RedisUnderTest(valkey, way)
        urls = {"DATABASE_URL": stores[0].url, "REDIS_URL": stores[1].url}
        home = tmp_path_factory.mktemp("stage") / "service"
        with one_worker(home, **urls, RATE_LIMIT="10000/minute") as started:
            yield Stage(started, *stores)


@pytest.fixture
def stage(service: Stage) -> Stage:
    """Redis knows one of its links and does not know another one, and a third is there to be deleted."""
    service.redis.let_in()  # a test of another module may have emptied the server meanwhile
    service.number += 1
    service.said = len(service.service.log())
    codes = [f"{name}{service.number}" for name in ("cached", "uncached", "deleted")]
    query(service.postgres.admin, f"INSERT INTO links (code, url) SELECT unnest(ARRAY{codes}), 'http://example.com/'")
    eventually(lambda: does_its_work("cached", ask(service, "cached")) and does_its_work("read", ask(service, "read")))
    return service


def ask(stage: Stage, name: str) -> httpx.Response:
    method, path = ROUTES[name]
    body = {"url": "http://example.com/"} if method == "POST" else None
    return httpx.request(method, f"{stage.service.url}{path.format(number=stage.number)}", json=body, timeout=20)


def sample(stage: Stage, name: str, **labels: str) -> list[float]:
    samples = [sample for family in families(stage.service.url) for sample in family.samples if sample.name == name]
    return [sample.value for sample in samples if labels.items() <= sample.labels.items()]


def assert_answers(stage: Stage, fault: Fault) -> None:
    for name in ROUTES:
        began_s = time.monotonic()
        answer = ask(stage, name)
        assert time.monotonic() - began_s < ANSWERED_WITHIN_S, name
        if name in fault.works:
            assert does_its_work(name, answer), (name, answer.status_code, answer.text)
        elif not does_its_work(name, answer):
            assert answer.status_code == 503, (name, answer.status_code, answer.text)
            assert answer.headers["retry-after"], name
            assert answer.headers["content-type"] == "application/problem+json"


def does_its_work(name: str, answer: httpx.Response) -> bool:
    """A link that was deleted before is not there any more."""
    return answer.is_success or answer.status_code == 307 or (name, answer.status_code) == ("delete", 404)


def all_is_well(stage: Stage) -> bool:
    ready: bool = ask(stage, "readyz").json()["status"] == "ready"
    return ready and all(does_its_work(name, ask(stage, name)) for name in ROUTES)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", FAULTS)
def test_service_does_what_it_can_whatever_a_store_answers(stage: Stage, name: str) -> None:
    fault = FAULTS[name]
    eventually(lambda: sample(stage, "postgres_up") == [1.0])
    refusals = sum(sample(stage, "store_refusals_total", store=fault.refuses))
    with fault.cause(stage.postgres, stage.redis):
        for _ in range(2):
            assert_answers(stage, fault)
        for gauge, value in fault.gauges.items():
            eventually(lambda gauge=gauge, value=value: sample(stage, gauge) == [value])  # type: ignore[misc]
        if fault.refuses:
            eventually(lambda: sum(sample(stage, "store_refusals_total", store=fault.refuses)) > refusals)
    eventually(lambda: all_is_well(stage))
    assert set(sample(stage, "background_task_failures_total")) == {0.0}
    assert "unhandled error" not in stage.log()


def test_a_statement_that_does_not_fit_is_a_defect_only_of_a_database_that_is_up_to_date(stage: Stage) -> None:
    database = stage.postgres.admin
    query(database, OLDER.format("PERFORM 1"))
    assert ask(stage, "readyz").json()["postgres"] == "ok"
    assert ask(stage, "read").status_code == 500
    query(database, "DELETE FROM alembic_version WHERE version_num = 'links_0001'")
    eventually(lambda: ask(stage, "readyz").json()["postgres"] == "migrations pending")
    answer = ask(stage, "read")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:problem:schema-behind")
    assert ask(stage, "cached").status_code == 307
    assert "the database lacks links_0001: run its migrations" in stage.service.log()  # at most once in a while
    assert stage.log().count("unhandled error") == 1
    query(database, NEWER)
    eventually(lambda: all_is_well(stage))
