"""What the README and the pages of docs/ tell a person to type is run here, unless a test of its own does it; links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from local.process import free_port

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXITS = re.compile(r"# exits (\d)$")


def _commands(*pages: str) -> list[str]:
    text = "".join((ROOT / "docs" / page).read_text() for page in pages)
    blocks = re.findall(r"^```sh\n(.*?)^```", text, re.M | re.S)
    return [line for block in blocks for line in block.splitlines() if line]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.M | re.S)
    targets = [link.partition("#")[0] for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", text)]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


ELSEWHERE = re.compile(
    r"export |docker |python3 deploy/swarm\.py|REPLICAS=|make prove|python -m proof\.capacity --check"
)
"""Run by tests/e2e/compose, and by tests/proof."""
OF_SCALING = [command for command in _commands("scaling.md") if not ELSEWHERE.match(command)]


@pytest.mark.parametrize("command", _commands("sizing.md", "migrations.md") + OF_SCALING)
def test_commands_about_the_service_do_as_they_say(command: str, database_url: str, redis_url: str) -> None:
    run, _, said = command.partition("#")
    backends = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": str(free_port())}
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **backends}
    run = run.replace("python", sys.executable)
    done = subprocess.run(["sh", "-c", run], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    expected = EXITS.match("#" + said)
    assert done.returncode == int(expected[1] if expected else 0), done.stdout + done.stderr
    assert "Traceback" not in done.stderr
