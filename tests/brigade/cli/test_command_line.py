import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from local.servers import Postgres
from tests.brigade.cli.conftest import Command, Run


@pytest.mark.parametrize("arguments", [[], ["run"], ["sizing"], ["migrate"], ["rehearse"], ["doctor"]])
def test_help_is_shown_without_a_setting_or_a_server(run: Run, arguments: list[str]) -> None:
    done = run(*arguments, "--help", PORT="nonsense")
    assert done.returncode == 0
    assert done.stdout.startswith("usage: python -m service")


def test_help_does_not_wait_for_libraries() -> None:
    imported = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "service", "--help"], capture_output=True, text=True, check=True
    ).stderr
    assert "argparse" in imported
    assert not [name for name in ("asyncpg", "sqlalchemy", "fastapi") if name in imported]


def test_a_command_opens_no_file_of_the_metrics(run: Run, tmp_path: Path, free_port: int) -> None:
    """A container has the folder in its environment before any worker has made it."""
    done = run("run", PROMETHEUS_MULTIPROC_DIR=tmp_path / "none", PORT=free_port)
    assert done.stderr.startswith("service: DATABASE_URL is not set")
    assert not (tmp_path / "none").exists()


def test_unknown_command_is_a_usage_error(run: Run) -> None:
    assert run("serve").returncode == 2


@pytest.mark.parametrize("name", ["run", "sizing", "migrate", "rehearse"])
def test_bad_setting_is_one_sentence_and_status_2(run: Run, name: str) -> None:
    done = run(name, PORT="http")
    assert done.returncode == 2
    assert done.stderr.startswith("service: PORT: ")
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is of Linux")
@pytest.mark.parametrize("words", [["doctor"], ["sizing", "--json"]])
def test_output_that_cannot_be_written_is_one_sentence(words: list[str]) -> None:
    variables = os.environ | ({"PORT": "http"} if words == ["doctor"] else {})  # a finding, and no server is asked
    command = [sys.executable, "-m", "service", *words]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, env=variables, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "service: Standard output cannot be written: No space left on device.\n"


@pytest.mark.parametrize(
    ("words", "variables", "status"),
    [
        (["sizing"], {"OTEL_PROPAGATORS": "xray"}, 0),
        (["sizing"], {"PORT": "http"}, 2),
        (["run"], {"DATABASE_URL": "postgresql://127.0.0.1:1/none", "REDIS_URL": ""}, 2),
    ],
)
def test_remark_that_cannot_be_written_changes_no_status(
    words: list[str], variables: dict[str, str], status: int, free_port: int
) -> None:
    """Nobody reads standard error any more, as after `2>&1 | head -1`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "service", *words]
    environment = os.environ | {"PORT": str(free_port)} | variables
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, stderr=writer, check=False)
    os.close(writer)
    assert done.returncode == status


@pytest.mark.parametrize("name", ["run", "migrate", "rehearse"])
def test_database_that_is_not_named_is_one_sentence(run: Run, name: str) -> None:
    done = run(name)
    assert done.returncode == 2
    assert done.stderr.startswith("service: DATABASE_URL is not set")
    assert done.stderr.count("\n") == 1


def test_rehearsal_starts_and_ends_without_a_server_that_answers(run: Run) -> None:
    away = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing", "REDIS_URL": "redis://127.0.0.1:1/0"}
    done = run("rehearse", **away)
    assert (done.returncode, done.stderr) == (0, "")


def test_rehearsal_knows_the_connections_of_the_server(run: Run, tmp_path: Path) -> None:
    """The rehearsal asks the server, as `run` does: 50 workers, twice in a reload, are more than Postgres has by default."""
    settings = {"fsync": "off", "max_connections": "150"}
    with Postgres(tmp_path / "postgres", settings=settings) as server:
        variables = {"DATABASE_URL": server.complete_url, "REDIS_URL": "redis://127.0.0.1:1/0", "WEB_CONCURRENCY": 50}
        assert run("migrate", **variables).returncode == 0
        done = run("rehearse", **variables)
        assert (done.returncode, done.stderr) == (0, "")
        refused = run("rehearse", **variables | {"WEB_CONCURRENCY": 80})
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


def test_sizing_needs_no_server(run: Run) -> None:
    table = run("sizing", WEB_CONCURRENCY=3).stdout
    rows = json.loads(run("sizing", "--json", WEB_CONCURRENCY=3).stdout)
    assert rows["workers"]["value"] == 3
    assert rows["workers"]["source"] == "environment"
    assert [line.split()[0] for line in table.splitlines()[1:]] == list(rows)
    assert all(row.keys() == {"value", "source", "why"} and row["why"] for row in rows.values())


def test_reader_that_leaves_early_is_no_error(command: Command) -> None:
    child = command("sizing")
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == ""
    assert child.wait(30) == 0


def test_sizing_asks_a_server_that_answers(run: Run, empty_database: str) -> None:
    rows = json.loads(run("sizing", "--json", DATABASE_URL=empty_database).stdout)
    assert rows["connection_budget"]["source"] == "server"


def test_sizing_goes_by_the_default_where_the_server_is_down(run: Run) -> None:
    done = run("sizing", "--json", DATABASE_URL="postgresql://127.0.0.1:9/none")
    budget = json.loads(done.stdout)["connection_budget"]
    assert budget["source"] == "default"
    assert budget["why"].startswith("max_connections 100 less 3 for superusers and 5 for people and migrations")
    assert budget["value"] == (80 if "12 for runners of jobs" in budget["why"] else 92)


def test_more_workers_than_the_budget_holds_is_refused(run: Run) -> None:
    done = run("sizing", WEB_CONCURRENCY=50, DB_CONNECTION_BUDGET=20)
    assert done.returncode == 2
    assert "WEB_CONCURRENCY" in done.stderr
    assert done.stderr.count("\n") == 1


def test_reader_that_leaves_does_not_end_a_migration(command: Command, run: Run, empty_database: str) -> None:
    """As `make migrate | head -1` does it."""
    child = command("migrate", DATABASE_URL=empty_database)
    assert child.stdout
    child.stdout.close()
    assert child.wait(60) == 0
    assert run("migrate", "--check", DATABASE_URL=empty_database).stdout == "The schema is up to date.\n"


@pytest.mark.drives("sheets")
@pytest.mark.parametrize("words", [["jobs"], ["jobs", "retry", "1"], ["run"], ["rehearse"]])
def test_command_before_any_migration_says_what_to_run(run: Run, empty_database: str, words: list[str]) -> None:
    done = run(*words, DATABASE_URL=empty_database, REDIS_URL="redis://127.0.0.1:1/0")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("service: The database lacks migrations (")
    assert done.stderr.endswith("): run python -m service migrate.\n")


@pytest.mark.drives("sheets")
def test_runner_before_any_migration_says_what_to_run(command: Command, empty_database: str) -> None:
    """It goes on, and works once somebody has applied them. The other words would be PgQueuer's, and name its commands."""
    child = command("work", DATABASE_URL=empty_database, REDIS_URL="redis://127.0.0.1:1/0")
    assert child.stdout is not None
    said = next(json.loads(line) for line in child.stdout if "interrupted" in line)
    assert said["error"].endswith("): run python -m service migrate.")
    child.terminate()
    rest, errors = child.communicate(timeout=30)
    assert "never retrieved" not in rest + errors
