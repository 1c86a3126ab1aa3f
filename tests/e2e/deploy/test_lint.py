"""`make lint` runs every tool and tells all that is wrong at once."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent
TOOLS = ("ruff", "mypy", "lint-imports", "actionlint", "check-jsonschema", "zizmor", "hadolint", "caddy", "kubectl")
FAILS = '#!/bin/sh\necho "${0##*/} $1 finds fault"\nexit 1\n'


def test_every_tool_is_run_though_each_finds_fault(tmp_path: Path) -> None:
    for tool in TOOLS:
        (tmp_path / tool).write_text(FAILS)
        (tmp_path / tool).chmod(0o755)
    (tmp_path / "python").symlink_to(sys.executable)
    made = subprocess.run(
        ["make", "lint", "--old-file=development", f"BIN={tmp_path}"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode != 0
    said = made.stdout + made.stderr
    for tool in (*TOOLS, "ruff format", "check", "overlay openshift"):
        assert f"{tool}" in said, said
    for target in ("style", "format", "types", "imports", "workflows", "deploy"):
        assert f"lint-{target}] Error" in said


def test_faults_of_the_deployment_are_told_together(tmp_path: Path) -> None:
    for name in ("deploy", "brigade", "service"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "docker-compose.yml", tmp_path)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nRUN cd /tmp\n")
    with (tmp_path / "deploy" / "Caddyfile").open("a") as caddyfile:
        caddyfile.write("oops {\n\tno_such_directive\n}\n")
    (tmp_path / "deploy" / "kubernetes" / "overlays" / "openshift" / "kustomization.yaml").unlink()
    command = ["sh", str(tmp_path / "deploy" / "lint.sh"), str(BIN)]
    found = subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert found.returncode == 1
    for fault in ("DL3003", "no_such_directive", "overlay openshift"):
        assert fault in found.stderr


def test_an_expression_that_names_nothing_is_found_in_a_workflow(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".github", tmp_path / ".github")
    workflow = tmp_path / ".github" / "workflows" / "test.yml"
    workflow.write_text(workflow.read_text().replace("matrix.python", "matrix.no_such_name"))
    command = ["sh", str(tmp_path / ".github" / "lint.sh"), str(BIN)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert "no_such_name" in found.stdout + found.stderr
