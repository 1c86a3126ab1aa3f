"""docs/first-feature.md, followed to the letter in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "first-feature.md").read_text()
LEFT_OUT = [".git", ".venv", ".local", "__pycache__", "reports", ".hypothesis"]
LISTINGS = re.findall(r"^`(\S+)`:\n\n```python\n(.*?)^```", PAGE, re.M | re.S)
COMMANDS = [line for block in re.findall(r"^```sh\n(.*?)^```", PAGE, re.M | re.S) for line in block.splitlines()]


@pytest.mark.timeout(400)
def test_the_feature_of_the_page_passes_its_tests_and_the_checks(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    for name, text in LISTINGS:
        path = copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    name, test = [command for command in COMMANDS if command != "make run"]
    run = [sys.executable, "-m"]
    tested = test.removeprefix("make test ARGS=")
    lint_imports = str(Path(sys.executable).with_name("lint-imports"))
    folders, printed = ["service", "tests/service"], ""
    for command in (
        ["sh", "-c", name],
        [*run, "ruff", "check", *folders],
        [*run, "ruff", "format", "--check", *folders],
        [*run, "mypy", *folders],
        [lint_imports],
        [*run, "pytest", "-n0", "-q", f"--basetemp={tmp_path / 'inner'}", tested],
    ):
        env = os.environ | {"PYTHONPATH": str(copy)}
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)
        printed = done.stdout
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    assert "2 passed" in printed
