"""docs/platforms.md: its variables can be used as they stand, and what of it can be run here is run."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from brigade.cli.migrate import BOUNDS, TURN_S
from brigade.settings import Settings, load_settings
from local.servers import Postgres
from tests.brigade.ops.test_ops import eventually
from tests.conftest import FAST, StartService

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "platforms.md").read_text()
SECTIONS = re.findall(r"^## (.+?)\n\n```env\n(.*?)```", PAGE, re.M | re.S)
LISTED = set(re.findall(r"^\| `([A-Z_]+)` ", (ROOT / "docs" / "settings.md").read_text(), re.M))


def variables(section: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in dict(SECTIONS)[section].splitlines())


def test_secrets_are_closed_to_others_also_in_a_folder_that_was_there(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, ROOT / "deploy" / "make_secrets.py"], env={"SECRETS_DIR": str(tmp_path)}, check=True
    )
    assert tmp_path.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("script", ["rollout.py", "swarm.py"])
@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"ROLLOUT_TIMEOUT_S": "2m"}, "ROLLOUT_TIMEOUT_S is a number"),
        ({"ROLLOUT_TIMEOUT_S": "nan"}, "ROLLOUT_TIMEOUT_S is a number"),  # a deadline that never passes
        ({}, "docker is missing"),
    ],
)
def test_rollout_that_cannot_begin_says_so_in_a_sentence(script: str, variables: dict[str, str], said: str) -> None:
    command = [sys.executable, str(ROOT / "deploy" / script)]
    done = subprocess.run(command, env={"PATH": "/nowhere", **variables}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith(said)


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize("section", dict(SECTIONS))
def test_variables_of_a_platform_can_be_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, section: str) -> None:
    for name, value in variables(section).items():
        assert name.removesuffix("_FILE") in LISTED
        file = tmp_path / name
        file.write_text("a/secret?with=any&characters%")
        monkeypatch.setenv(name, str(file) if name.endswith("_FILE") else value)
    load_settings()


@pytest.mark.parametrize("section", ["Heroku", "Fly.io", "Render", "Cloud Run"])
def test_service_serves_with_what_a_platform_sets(start_service: StartService, section: str) -> None:
    """Its own servers are elsewhere, and its proxy is played by this test, from an address that is not believed."""
    elsewhere = {"DATABASE_URL", "REDIS_URL", "STATE_DIR"}
    given = {name: value for name, value in variables(section).items() if name not in elsewhere}
    service = start_service(workers=1, ready=True, **given)
    forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "Host": "s.example"}
    made = httpx.post(f"{service.url}/links", json={"url": "https://example.com"}, headers=forged)
    assert made.json()["short_url"].startswith("http://s.example/r/")


@pytest.fixture
def by_socket(tmp_path: Path) -> Iterator[tuple[Postgres, Path]]:
    """Postgres that listens where Cloud SQL does: the folder's name has colons."""
    with (
        tempfile.TemporaryDirectory() as short
    ):  # a socket's path has at most 107 bytes, and pytest's folders have long names
        Path(short).chmod(0o755)
        folder = Path(short) / "project:region:instance"
        folder.mkdir(mode=0o777)
        folder.chmod(0o777)
        with Postgres(tmp_path / "postgres", settings=FAST | {"unix_socket_directories": str(folder)}) as server:
            yield server, folder


def test_cloud_sql_is_reached_by_its_socket(by_socket: tuple[Postgres, Path], tmp_path: Path) -> None:
    server, folder = by_socket
    password = server.url.partition("@")[0].rpartition(":")[2]
    (tmp_path / "password").write_text(password)
    socket = variables("Cloud SQL by its socket")["DATABASE_URL"].replace(
        "/cloudsql/project:region:instance", str(folder)
    )
    url = socket.replace("app@", "brigade@").replace("/db?", "/postgres?") + f"&port={server.port}"
    migrate = [sys.executable, "-m", "service", "migrate"]
    env = {"PYTHONPATH": str(ROOT), "DATABASE_URL": url, "DATABASE_PASSWORD_FILE": str(tmp_path / "password")}
    done = subprocess.run(migrate, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_password_that_is_renewed_in_its_file_is_read_by_a_reload(
    start_service: StartService, database_url: str, tmp_path: Path
) -> None:
    """As the tokens of RDS with IAM are: the old one opens no new connection."""
    file, role = tmp_path / "password", "renewed"
    place = database_url.partition("@")[2]
    _execute(database_url, f"CREATE ROLE {role} SUPERUSER LOGIN PASSWORD 'first/token?a=b&c%'")
    try:
        file.write_text("first/token?a=b&c%")
        service = start_service(workers=1, DATABASE_URL=f"postgresql://{role}@{place}", DATABASE_PASSWORD_FILE=file)
        (before,) = service.worker_pids()
        _execute(database_url, f"ALTER ROLE {role} PASSWORD 'second/token'")
        file.write_text("second/token")
        os.kill(service.pid, signal.SIGHUP)
        eventually(lambda: before not in service.worker_pids(), within_s=60)
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
        _execute(database_url, end)
        assert httpx.post(f"{service.url}/links", json={"url": "https://example.com"}).status_code == 201
        service.stop(within_s=10)
    finally:
        _execute(database_url, f"REASSIGN OWNED BY {role} TO brigade; DROP OWNED BY {role}; DROP ROLE {role}")


def _execute(url: str, statements: str) -> None:
    async def execute() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(statements)
        await connection.close()

    asyncio.run(execute())


def test_migration_is_given_the_time_that_it_may_take() -> None:
    """A unit or a Job that ends it in the middle would start it again and again."""
    longest_s = TURN_S + int(BOUNDS["statement_timeout"].removesuffix("min")) * 60
    unit = (ROOT / "deploy" / "brigade.service").read_text()
    job = (ROOT / "deploy" / "kubernetes" / "base" / "migrate.yaml").read_text()
    said = (ROOT / "docs" / "scaling.md").read_text()
    assert int(re.findall(r"^TimeoutStartSec=(\d+)min$", unit, re.M)[0]) * 60 > longest_s
    assert int(re.findall(r"activeDeadlineSeconds: (\d+)", job)[0]) > longest_s
    assert int(re.findall(r"job/migrate --timeout (\d+)m", said)[0]) * 60 > longest_s


UNITS = ("brigade.service", "brigade-jobs.service", "brigade.socket")


def test_runner_of_jobs_is_confined_and_stopped_as_the_service_is() -> None:
    service, jobs = [(ROOT / "deploy" / name).read_text() for name in UNITS[:2]]
    kept = (
        r"^(?:Protect|Restrict|Private|NoNew|Capab|System|Dynamic|Kill|TimeoutStop|Restart|Limit|EnvironmentFile)\w*=.*"
    )
    assert re.findall(kept, jobs, re.M) == re.findall(kept, service, re.M)
    grace_s = int(re.findall(r"^TimeoutStopSec=(\d+)$", jobs, re.M)[0])
    assert grace_s > Settings().graceful_timeout_s


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze here")
def test_units_are_sound(tmp_path: Path) -> None:
    """`verify` looks for the programs, so the unit is shown this folder in place of /opt/brigade."""
    python = str(Path(sys.executable))
    for name in UNITS:
        unit = (ROOT / "deploy" / name).read_text().replace("/opt/brigade/.venv/bin/python", python)
        (tmp_path / name).write_text(unit)
    verify = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in UNITS)]
    done = subprocess.run(verify, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_checkout_for_another_system_has_the_line_ends_that_containers_read(tmp_path: Path) -> None:
    convert = ["git", "-c", "core.autocrlf=true", "-c", "core.eol=crlf", "clone", "--quiet", "--no-hardlinks"]
    subprocess.run([*convert, f"file://{ROOT}", tmp_path / "clone"], check=True, timeout=60)
    read = [
        "Makefile",
        "Dockerfile",
        "docker-compose.yml",
        "deploy/start_proxy.sh",
        "deploy/pgbouncer/start.sh",
        ".ci/run",
    ]
    assert [name for name in read if b"\r" in (tmp_path / "clone" / name).read_bytes()] == []
