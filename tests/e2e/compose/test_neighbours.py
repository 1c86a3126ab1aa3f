"""Two checkouts on one host, and what the shell brings along: read from what Compose makes of the files."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.compose.stack import ROOT, Stack

pytestmark = pytest.mark.usefixtures("engine")
PROJECT = ("COMPOSE_PROJECT_NAME", "IMAGE", "TAG", "PORT")


def stack_in(folder: Path) -> Stack:
    """As a person would type it there, with no variable of the project's."""
    folder.mkdir()
    for name in ("docker-compose.yml", "deploy"):
        (folder / name).symlink_to(ROOT / name)
    stack = Stack(folder, project="", port=8000)
    for name in PROJECT:
        stack.env.pop(name, None)
    return stack


def config(stack: Stack, **env: str) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        stack.compose("--profile", "*", "config", "--format", "json", check=True, **env).stdout
    )
    return made


def names(made: dict[str, Any]) -> set[str]:
    """Everything that an engine knows by name."""
    parts = [entry["name"] for kind in ("volumes", "networks") for entry in made[kind].values()]
    return {made["name"], *parts, *(service["image"] for service in made["services"].values())}


def test_two_checkouts_share_no_name_and_no_subnet(tmp_path: Path) -> None:
    first, second = (config(stack_in(tmp_path / name)) for name in ("one", "two"))
    assert names(first) & names(second) == {"postgres:18-trixie"}
    assert [network for network in first["networks"].values() if network["ipam"]] == []


def test_no_container_reads_the_checkout(tmp_path: Path) -> None:
    """Its path and its file modes are a person's own business, and the engine may be another machine."""
    services = config(stack_in(tmp_path / "one"))["services"]
    kinds = {volume["type"] for service in services.values() for volume in service.get("volumes", [])}
    assert kinds == {"volume"}


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::", "::1", ""])
def test_host_may_be_any_address(tmp_path: Path, host: str) -> None:
    services = config(stack_in(tmp_path / "one"), HOST=host)["services"]
    published = {port["host_ip"] for service in services.values() for port in service.get("ports", [])}
    assert published == {host or "127.0.0.1"}


def test_host_of_another_tool_is_refused_in_a_sentence(tmp_path: Path) -> None:
    """A conda environment exports this one. Taken for no address at all, it would publish on every address."""
    with pytest.raises(AssertionError, match=r"(?i)invalid ip address: x86_64-conda-linux-gnu"):
        config(stack_in(tmp_path / "one"), HOST="x86_64-conda-linux-gnu")
