"""The rules are sound, fire when they should, explain themselves, and ask for nothing that the service does not export."""

import json
import re
import shutil
import socket
import subprocess
from pathlib import Path

import httpx
import pytest

from brigade.jobs import depths
from tests.brigade.ops.test_metrics import families
from tests.brigade.ops.test_ops import eventually
from tests.conftest import StartService

DEPLOY = Path(__file__).parents[3] / "deploy"
RULES = (DEPLOY / "alerts.yml").read_text()
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "service.json").read_text())
METRIC = re.compile(r"\b[a-z]+(?:_[a-z]+)+(?=[{\[ )]|$)|\bup\b|\bplan\b")
WORDS = {"histogram_quantile", "label_values", "sum", "max", "min", "present_over_time"}


def expressions() -> list[str]:
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    return [*re.findall(r"expr: (?:>\n)?((?:.+\n)(?:          .+\n)*)", RULES), *panels]


@pytest.mark.parametrize("command", [["check", "rules", "alerts.yml"], ["test", "rules", "alerts.test.yml"]])
def test_promtool_finds_the_rules_sound(command: list[str]) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "promtool is missing: apt-get install prometheus"
    result = subprocess.run([promtool, *command], cwd=DEPLOY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_alert_has_a_chapter_in_the_runbook_and_a_unit_test() -> None:
    alerts = re.findall(r"alert: (\w+)", RULES)
    assert re.findall(r"runbook_url: docs/runbook\.md#(\w+)", RULES) == [alert.lower() for alert in alerts]
    runbook = (DEPLOY.parent / "docs" / "runbook.md").read_text()
    assert re.findall(r"^## ([A-Z]\w+)$", runbook, re.M) == alerts
    tested = (DEPLOY / "alerts.test.yml").read_text()
    assert [alert for alert in alerts if f'alertname="{alert}"' not in tested] == []


def test_every_metric_asked_for_is_exported(start_service: StartService) -> None:
    service = start_service(workers=1)
    for path in ("/nowhere", "/r/nowhere", "/livez"):
        httpx.get(f"{service.url}{path}")
    with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
        connection.sendall(b"not HTTP\r\n\r\n")
        connection.recv(1)
    asked = {
        name
        for expression in expressions()
        for name in METRIC.findall(re.sub(r"\{[^}]*\}|by \([^)]*\)", "", expression))
    }
    asked -= WORDS | {"up"}  # Prometheus's own
    asked -= {metric._name for metric in (depths.OLDEST, depths.DEPTH)}  # on a runner's own port
    assert len(asked) > 30

    def missing() -> set[str]:
        return asked - {sample.name for family in families(service.url) for sample in family.samples}

    eventually(lambda: missing() == set())
