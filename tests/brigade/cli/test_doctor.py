import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_sync

from tests.brigade.cli.conftest import ROOT, Run, add_migration
from tests.conftest import StartService

Examine = Callable[..., tuple[int, dict[str, dict[str, Any]]]]


@pytest.fixture
def examine(run: Run, database_url: str, redis_url: str, free_port: int) -> Examine:
    """The doctor's exit status and findings, on a healthy service but for what the test does to it."""

    def examine(**variables: object) -> tuple[int, dict[str, dict[str, Any]]]:
        healthy = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": free_port, "WEB_CONCURRENCY": 1}
        done = run("doctor", "--json", **(healthy | variables))
        return done.returncode, {finding["check"]: finding for finding in json.loads(done.stdout)}

    return examine


@pytest.fixture
def redis_config(redis_url: str) -> Iterator[Callable[..., None]]:
    """Sets what Redis is configured with, and puts it back."""
    with redis_sync.Redis.from_url(redis_url) as client:
        before = {name: client.config_get(name)[name] for name in ("appendonly", "maxmemory", "maxmemory-policy")}
        yield client.config_set
        for name, value in before.items():
            client.config_set(name, value)


def test_healthy_service_has_nothing_wrong(examine: Examine) -> None:
    status, findings = examine()
    assert [finding for finding in findings.values() if finding["wrong"]] == []
    assert status == 0
    assert {"settings", "postgres", "migrations", "redis", "persistence", "eviction", "connections"} < findings.keys()
    assert {"cpus", "memory", "timeouts", "keep-alive", "open files", "state folder", "port"} < findings.keys()


def test_report_for_people_has_a_line_for_each_check(run: Run, database_url: str, redis_url: str) -> None:
    done = run("doctor", DATABASE_URL=database_url, REDIS_URL=redis_url, KEEPALIVE_S=5)
    assert "advice  keep-alive   5 s" in done.stdout
    assert "mend: raise KEEPALIVE_S" in done.stdout


def test_bad_setting_is_all_it_reports(examine: Examine) -> None:
    status, findings = examine(REPLICAS="none")
    assert status == 1
    assert list(findings) == ["settings"]
    assert "REPLICAS" in findings["settings"]["found"]


def test_servers_out_of_reach_are_each_reported(examine: Examine) -> None:
    status, findings = examine(DATABASE_URL="postgresql://127.0.0.1:9/db", REDIS_URL="redis://127.0.0.1:9")
    assert status == 1
    assert "DATABASE_URL" in findings["postgres"]["wrong"]
    assert "REDIS_URL" in findings["redis"]["wrong"]
    assert not findings["state folder"]["wrong"]


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
def test_redis_that_loses_or_evicts_counters_is_wrong(
    examine: Examine, redis_config: Callable[[str, str], None], policy: str
) -> None:
    redis_config("appendonly", "no")
    redis_config("maxmemory", "100mb")
    redis_config("maxmemory-policy", policy)
    status, findings = examine()
    assert status == 1
    assert "appendonly yes" in findings["persistence"]["wrong"]
    assert "volatile-lru" in findings["eviction"]["wrong"]


@pytest.mark.parametrize(
    ("variables", "check"),
    [
        ({"DB_CONNECTION_BUDGET": 10_000}, "sizing"),
        ({"WEB_CONCURRENCY": 4, "WORKER_MEMORY_MB": 100_000_000}, "memory"),
    ],
)
def test_plan_that_does_not_fit_is_wrong(examine: Examine, variables: dict[str, Any], check: str) -> None:
    status, findings = examine(**variables)
    assert status == 1
    assert findings[check]["wrong"]


def test_more_workers_than_cpus_is_advice(examine: Examine) -> None:
    status, findings = examine(WEB_CONCURRENCY=20)
    assert "WEB_CONCURRENCY" in findings["cpus"]["advice"]
    assert status == 0


def test_pending_migration_is_wrong(examine: Examine, empty_database: str, code: Path) -> None:
    add_migration(code, "alpha", 1, "op.execute('SELECT 1')")
    status, findings = examine(DATABASE_URL=empty_database, code=code)
    assert status == 1
    assert findings["migrations"]["wrong"] == "python -m service migrate"


def test_port_that_something_else_holds_is_wrong(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        status, findings = examine(PORT=listener.getsockname()[1])
    assert status == 1
    assert "in use" in findings["port"]["found"]


def test_port_that_this_service_serves_is_well(examine: Examine, start_service: StartService) -> None:
    service = start_service(workers=1)
    status, findings = examine(PORT=service.port)
    assert status == 0
    assert "is served" in findings["port"]["found"]


def test_folder_of_a_feature_without_its_word_is_wrong(
    run: Run, database_url: str, redis_url: str, free_port: int, tmp_path: Path
) -> None:
    for part in ("service", "brigade", "deploy"):
        shutil.copytree(ROOT / part, tmp_path / "whole" / part, ignore=shutil.ignore_patterns("__pycache__"))
    forgotten = tmp_path / "whole" / "service" / "features" / "forgotten"
    forgotten.mkdir()
    (forgotten / "__init__.py").touch()
    backends = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": free_port}
    done = run("doctor", "--json", code=tmp_path / "whole", **backends)
    (finding,) = [finding for finding in json.loads(done.stdout) if finding["check"] == "features"]
    assert done.returncode == 1
    assert "forgotten" in finding["found"]
    assert "FEATURES" in finding["wrong"]


def test_channel_binding_that_cannot_be_had_is_advice(examine: Examine, database_url: str) -> None:
    status, findings = examine(DATABASE_URL=f"{database_url}?channel_binding=require&connect_timeout=10")
    assert status == 0
    assert "verify-full" in findings["tls"]["advice"]
