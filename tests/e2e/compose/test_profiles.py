"""What a profile adds: Locust in front of the proxy, Prometheus behind it. Grafana is only looked at by `make lint`."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e.compose.stack import Stack, eventually


@pytest.fixture(scope="module")
def profiles(stack: Stack) -> Iterator[Stack]:
    stack.shell("docker compose --profile loadtest up --detach --wait", LOCUST_WORKERS="2")
    stack.up("prometheus")
    yield stack
    stack.compose("--profile", "*", "rm", "--force", "--stop", "locust", "locust-worker", "prometheus")


def test_locust_runs_a_scenario_on_all_its_workers_at_once(profiles: Stack) -> None:
    url = f"http://127.0.0.1:{profiles.env['LOCUST_PORT']}"

    def report() -> dict[str, Any]:
        answer: dict[str, Any] = httpx.get(f"{url}/stats/requests", trust_env=False).json()
        return answer

    eventually(lambda: len(report().get("workers", [])) == 2)
    form = {"user_classes": "Everyday", "user_count": "4", "spawn_rate": "4", "host": "http://proxy:8080"}
    started = httpx.post(f"{url}/swarm", data=form, trust_env=False)
    assert started.json()["success"]
    eventually(lambda: report()["stats"][-1]["num_requests"] > 100)
    assert [worker["user_count"] for worker in report()["workers"]] == [2, 2]
    httpx.get(f"{url}/stop", trust_env=False)
    assert report()["errors"] == []


def test_prometheus_finds_every_replica(profiles: Stack) -> None:
    url = f"http://127.0.0.1:{profiles.env['PROMETHEUS_PORT']}"

    def targets() -> dict[str, str]:
        answer = httpx.get(f"{url}/api/v1/targets", trust_env=False).json()
        return {target["scrapeUrl"]: target["health"] for target in answer["data"]["activeTargets"]}

    eventually(lambda: list(targets().values()) == ["up"])
    assert profiles.execute(
        profiles.container("prometheus"), "promtool", "check", "config", "/etc/prometheus/prometheus.yml"
    )
