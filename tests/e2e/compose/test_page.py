"""What docs/deploy.md tells a person to type, and what Compose hands on, is what is run and read here."""

import json
import re
from pathlib import Path

from service.settings import Settings
from tests.e2e.compose.stack import ROOT, Stack

PAGE = (ROOT / "docs" / "deploy.md").read_text()
WITHOUT_GRAFANA = "docker compose --profile observability up --detach --wait"
"""Grafana's image cannot be had on every machine that runs these tests, so Prometheus is started without it."""


def test_every_command_of_the_page_is_run_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S)
    commands = {line.split("#")[0].strip() for block in blocks for line in block.splitlines()}
    typed = {command for command in commands if not command.startswith("export ")}
    assert typed
    assert [command for command in typed if f'"{command}"' not in tests] == []


def test_every_variable_reaches_the_service(stack: Stack) -> None:
    services = json.loads(stack.compose("config", "--format", "json").stdout)["services"]
    handed_on = {*services["api"]["environment"], *services["jobs"]["environment"]}
    of_the_image = {"STATE_DIR"}
    assert {name.upper() for name in Settings.model_fields} - handed_on == of_the_image
