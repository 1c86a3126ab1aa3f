"""The promise of docs/decisions/0002: a feature is a folder and a word. Deleted for real, in a copy of the tree."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LEFT_OUT = [".git", ".venv", ".local", "__pycache__", "reports", ".hypothesis"]  # and not what tools have cached
# What asks a whole service for what its features do. The others look at one part, or need a container or a browser.
TESTS = {
    ("links",): [
        "tests/brigade/web/test_layers.py",
        "tests/brigade/web/test_openapi.py",
        "tests/brigade/telemetry/test_logs.py",
        "tests/service/notes/test_notes.py",
        "tests/service/sheets/test_routes.py",
    ],
    ("notes", "sheets"): ["tests/brigade/telemetry/test_logs.py"],
}


WITHOUT_ITS_PACKAGES = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))
from service.main import create_app
create_app()
"""
"""Starts while each import of a package that is named fails."""
PACKAGES: dict[tuple[str, ...], list[str]] = {("links",): ["idna"]}
"""Only these features need these packages. Sheets draw QR codes, too."""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("features", TESTS, ids=" and ".join)
def test_a_feature_is_deleted_with_its_folder_and_its_word(features: tuple[str, ...], tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
    main = copy / "service/main.py"
    for feature in features:
        shutil.rmtree(copy / "service/features" / feature)
        shutil.rmtree(copy / "tests/service" / feature)
        word = rf"(?m)^from service\.features import {feature}\n|\b{feature}, ?|, {feature}\b"
        main.write_text(re.sub(word, "", main.read_text()))
        assert feature not in main.read_text()
    run = [sys.executable, "-m"]
    env = {name: value for name, value in os.environ.items() if name != "BRIGADE_URLS"} | {"PYTHONPATH": str(copy)}
    for command in (
        [*run, "ruff", "check", "."],
        [*run, "mypy"],
        [str(Path(sys.executable).with_name("lint-imports"))],
        [sys.executable, "-c", WITHOUT_ITS_PACKAGES, *PACKAGES.get(features, [])],
        [*run, "pytest", "-q", "-x", *TESTS[features]],
    ):
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
