"""`make new`: a project of one's own, and `make upgrade` in it; its own commands are run, in an empty home."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from importlib.metadata import packages_distributions
from pathlib import Path

import httpx
import psutil
import pytest
from dotenv import dotenv_values

from local.git import Refusal
from local.naming import check_name
from local.process import free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def _make(*arguments: str, cwd: Path = ROOT, **more: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "HOME": str(cwd.parent), "PYTHON": sys.executable} | more
    command = ["make", "--silent", *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Named so that its imports sort before those of `local`."""
    folder = tmp_path_factory.mktemp("mine") / "apples"
    done = _make("new", "NAME=apples", f"DIR={folder}")
    assert done.returncode == 0, done.stderr
    return folder


BAD = [
    "",
    "Orders",
    "2nd",
    "class",
    "brigade",
    "local",
    "tests",
    "json",
    "fastapi",
    "a-b",
    "yaml",
    "reports",
    "a" * 300,
]


@pytest.mark.parametrize("name", BAD)
def test_a_name_that_cannot_be_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    done = _make("new", f"NAME={name}", f"DIR={tmp_path / 'new'}")
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()


def test_no_package_of_the_project_can_be_hidden_by_its_name() -> None:
    names = {name for name in packages_distributions() if re.fullmatch("[a-z][a-z0-9_]*", name) and "__" not in name}
    for name in names:
        with pytest.raises(Refusal, match=name):
            check_name(name)


def test_a_project_of_any_letters_is_made_in_a_shell_of_few(tmp_path: Path) -> None:
    folder = tmp_path / "bücher \"für\" '#1' 50%" / "orders"
    done = _make("new", "NAME=orders", f"DIR={folder}", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    assert "µs" in (folder / "brigade" / "pyproject.toml").read_text()


def test_a_folder_that_cannot_be_made_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = _make("new", "NAME=orders", f"DIR={tmp_path / 'file' / 'orders'}")
    assert done.returncode != 0
    assert "Not a directory" in done.stderr
    assert "Traceback" not in done.stderr


def test_neither_a_hook_nor_git_settings_of_ones_own_change_what_is_made(tmp_path: Path) -> None:
    """A hook names its repository in GIT_DIR, into which the new project would be committed."""
    home, other, folder = tmp_path / "home", tmp_path / "other", tmp_path / "orders"
    (home / "hooks").mkdir(parents=True)
    for hook in ("pre-commit", "prepare-commit-msg", "commit-msg"):
        (home / "hooks" / hook).write_text("#!/bin/sh\nexit 1\n")
        (home / "hooks" / hook).chmod(0o755)
    (home / "ignored").write_text("docs/\n")
    settings = {"core.hooksPath": home / "hooks", "core.excludesFile": home / "ignored", "commit.gpgSign": "true"}
    settings |= {"user.email": "a@b.example", "user.useConfigOnly": "true"}  # and no name
    for name, value in settings.items():
        subprocess.run(["git", "config", "--file", home / ".gitconfig", name, str(value)], check=True)
    subprocess.run(["git", "init", "-q", other], check=True)
    done = _make("new", "NAME=orders", f"DIR={folder}", HOME=str(home), GIT_DIR=str(other / ".git"))
    assert done.returncode == 0, done.stderr
    assert not list((other / ".git").glob("refs/heads/*"))
    assert (
        "docs/settings.md"
        in subprocess.run(["git", "ls-files"], cwd=folder, capture_output=True, text=True, check=True).stdout
    )


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    assert "is not empty" in _make("new", "NAME=orders", f"DIR={tmp_path}").stderr
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_nothing_of_the_sample_and_of_the_proof_is_left(project: Path) -> None:
    for part in ("proof", "service", "tests/brigade", "tests/proof", "apples/features/links", "docs/decisions"):
        assert not (project / part).exists(), part
    assert "segno" not in "".join(file.read_text() for file in (project / "requirements").iterdir())
    assert 'needed = needs("postgres")\n' in (project / "apples/features/notes/__init__.py").read_text()
    workflow = (project / ".github" / "workflows" / "test.yml").read_text()
    assert workflow.rstrip().endswith("run: make lint audit test")
    assert "/apples/ @OWNER" in (project / ".github" / "CODEOWNERS").read_text()
    deployed = [file for file in (project / "deploy").rglob("*") if file.is_file()]
    for file in (*deployed, project / "Dockerfile", project / "docker-compose.yml"):
        assert not re.search(r"-m[ ,\"]+service\b", file.read_text()), file
    named = set(re.findall(r'job=\\?"(\w+)', "".join(file.read_text() for file in deployed)))
    assert named <= set(re.findall(r"job_name: (\w+)", (project / "deploy" / "prometheus.yml").read_text()))
    status = subprocess.run(["git", "status", "--porcelain"], cwd=project, capture_output=True, text=True, check=True)
    assert status.stdout == ""


def test_projects_in_folders_of_the_same_name_are_two_to_compose(project: Path, tmp_path: Path) -> None:
    other = tmp_path / project.name
    assert _make("new", "NAME=apples", f"DIR={other}").returncode == 0
    names = [dotenv_values(folder / ".env")["COMPOSE_PROJECT_NAME"] or "" for folder in (project, other)]
    assert names[0] != names[1]
    assert all(re.fullmatch(r"apples-[0-9a-f]{6}", name) for name in names)


def _check(project: Path, *more: str) -> None:
    """What `make lint`, `make test` and `make run` do, with the packages that are here already."""
    for words in (
        "ruff check",
        "ruff format --check",
        "mypy",
        "lint-imports",
        f"pytest -q -n0 --basetemp={project.parent / 'tests'}",
        *more,
    ):
        program, *arguments = words.split()
        command = [program if program == "sh" else str(BIN / program), *arguments]
        env = {"PATH": os.environ["PATH"], "HOME": str(project.parent)}
        done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    _serve(project)


def _serve(project: Path) -> None:
    port = free_port()
    env = {"PATH": os.environ["PATH"], "HOME": str(project.parent), "PORT": str(port)}
    with (project.parent / "log").open("wb") as log:
        run = subprocess.Popen([sys.executable, "-m", "local", "run"], cwd=project, env=env, stdout=log, stderr=log)
    children: list[psutil.Process] = []
    try:
        deadline = time.monotonic() + 100
        while "Ready after" not in (said := (project.parent / "log").read_text()):
            assert run.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.1)
        children = psutil.Process(run.pid).children(recursive=True)
        url = f"http://127.0.0.1:{port}"
        assert httpx.post(f"{url}/notes", json={"text": "a"}).status_code == 201
        assert httpx.get(f"{url}/openapi.json").json()["info"]["title"] == "Apples"
    finally:
        run.send_signal(signal.SIGTERM)
        assert run.wait(60) == 0
        assert not [child for child in children if child.is_running()]


def test_an_upgrade_that_cannot_be_is_refused_in_a_sentence(project: Path, tmp_path: Path) -> None:
    other = shutil.copytree(project, tmp_path / "other")
    assert "FROM is a project" in _make("upgrade", f"FROM={other}", cwd=project).stderr
    (other / "pyproject.toml").write_text("")
    subprocess.run(
        ["git", "-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-qam", "a"], cwd=other, check=True
    )
    assert "[tool.brigade]" in _make("upgrade", f"FROM={ROOT}", cwd=other).stderr
    for folder in (project, other):
        status = subprocess.run(
            ["git", "status", "--porcelain"], cwd=folder, capture_output=True, text=True, check=True
        )
        assert status.stdout == ""


@pytest.mark.timeout(600)
def test_it_passes_its_own_checks_and_serves_and_again_after_an_upgrade(project: Path, tmp_path: Path) -> None:
    project = shutil.copytree(project, tmp_path / "mine" / "apples")  # other tests look at it as it was made
    with suppress(FileNotFoundError):  # what mypy knows of the packages: 25 s less
        shutil.copytree(ROOT / ".mypy_cache", project / ".mypy_cache")
    _check(project, f"sh .github/lint.sh {BIN}", f"sh deploy/lint.sh {BIN}")
    newer = tmp_path / "newer"
    shutil.copytree(ROOT, newer, ignore=shutil.ignore_patterns(".venv", ".local", "__pycache__", ".*_cache"))
    engine = newer / "brigade" / "__init__.py"
    engine.write_text("# Newer.\n" + engine.read_text())
    (newer / "deploy" / "redis.conf").write_text("# Newer.\n")
    own = project / "apples" / "settings.py"
    own.write_text("# Mine.\n" + own.read_text())
    assert "not committed" in _make("upgrade", f"FROM={newer}", cwd=project).stderr
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.example"]
    subprocess.run(["git", *identity, "commit", "-qam", "Mine"], cwd=project, check=True)
    done = _make("upgrade", f"FROM={newer}", cwd=project)
    assert done.returncode == 0, done.stderr
    assert (project / "brigade" / "__init__.py").read_text().startswith("# Newer.\n")
    assert "deploy/redis.conf" in done.stdout
    assert "# Newer." not in (project / "deploy" / "redis.conf").read_text()
    assert own.read_text().startswith("# Mine.\n")
    _check(project)
