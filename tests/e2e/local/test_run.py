"""`make run` for real: from nothing, again, after every way to die, and where it must refuse."""

import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest
from redis.asyncio import Redis

from tests.brigade.ops.test_ops import eventually
from tests.e2e.local.clone import Clone, users


@pytest.fixture
def clone_for() -> Iterator[Callable[[str], Clone]]:
    clones: list[Clone] = []
    # Not in pytest's own folder, which it closes to all other users.
    with tempfile.TemporaryDirectory(prefix="brigade-") as folder:
        Path(folder).chmod(0o755)

        def make(user: str) -> Clone:
            parent = Path(folder) / user
            parent.mkdir()
            clones.append(Clone.make(parent, user=user))
            return clones[-1]

        yield make
        for clone in clones:
            clone.clear()


@pytest.fixture
def clone(clone_for: Callable[[str], Clone]) -> Clone:
    return clone_for(users()[0])


def shell_of_others(clone: Clone) -> dict[str, str]:
    """Variables and files for other Pythons, other package managers and other Postgres servers than those of make run."""
    elsewhere = clone.folder.parent / "elsewhere"
    (elsewhere / "service").mkdir(parents=True)
    (elsewhere / "service" / "__init__.py").write_text("raise RuntimeError('another service')")
    pip_conf = clone.folder.parent / "home" / ".config" / "pip" / "pip.conf"
    pip_conf.parent.mkdir(parents=True)
    pip_conf.write_text("[global]\nuser = yes\n[install]\nno-binary = :all:\n")
    for path in (elsewhere, pip_conf, *elsewhere.rglob("*"), *pip_conf.parents[:2]):
        shutil.chown(path, clone.user)
    pip = {"PIP_USER": "1", "PIP_PREFIX": "/nowhere", "PIP_TARGET": "/nowhere", "PIP_REQUIRE_VIRTUALENV": "1"}
    python = {"PYTHONPATH": str(elsewhere), "PYTHONHOME": "/nowhere", "PYTHONSAFEPATH": "1", "VIRTUAL_ENV": "/nowhere"}
    libpq = {"PGSSLMODE": "verify-full", "PGTARGETSESSIONATTRS": "standby", "PGSERVICE": "none", "PGOPTIONS": "-c x=y"}
    terminal = {"LANG": "C", "LC_ALL": "C", "COLUMNS": "8", "UV_SYSTEM_PYTHON": "1"}
    return pip | python | libpq | terminal


def test_make_run_serves_from_a_fresh_clone_and_sooner_again(clone_for: Callable[[str], Clone]) -> None:
    """The user is an ordinary one, where there is one; a newcomer's first minutes are those of who runs the tests."""
    clone = clone_for(users()[-1])
    first = clone.start("make", "run", **shell_of_others(clone))
    first_s = first.wait_ready()
    assert httpx.get(f"{first.url}/docs").is_success
    assert f"{first.url}/docs" in first.output()
    assert "X-Worker" in httpx.get(f"{first.url}/livez").headers
    first.end()
    clone.wait_until_empty()

    second = clone.start("make", "run")
    assert second.wait_ready() < first_s
    second.end()
    clone.wait_until_empty()


def test_run_serves_while_nobody_reads_its_output_and_nobody_else_its_files(clone: Clone) -> None:
    shell = clone.start("sh", "-c", f"umask 077; {sys.executable} -m local run | head -1")
    eventually(lambda: answers(f"{shell.url}/readyz"), within_s=60)
    shell.wait_for("Postgres is up")
    (run,) = (process for process in clone.processes() if process.cmdline()[1:] == ["-m", "local", "run"])
    run.terminate()
    clone.wait_until_empty()


def answers(url: str) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(url).is_success
    return False


def test_run_ends_everything_in_order(clone: Clone) -> None:
    run = clone.supervise()
    run.wait_ready()
    assert run.end(signal.SIGINT) == 0
    assert clone.processes() == []
    said = run.output()
    assert said.index("Shutting down: Master") < said.index("Valkey is down") < said.index("Postgres is down")


def test_run_ends_everything_when_its_parent_is_killed(clone: Clone) -> None:
    shell = clone.start("sh", "-c", f"{sys.executable} -m local run; exit")
    shell.wait_ready()
    shell.end(signal.SIGKILL)
    clone.wait_until_empty()


def test_run_ends_everything_when_its_parent_is_killed_during_the_start(clone: Clone) -> None:
    shell = clone.start("sh", "-c", f"{sys.executable} -m local run; exit")
    shell.wait_for("Postgres is up")
    shell.end(signal.SIGKILL)
    clone.wait_until_empty()


def test_run_ends_everything_when_its_terminal_is_killed(clone: Clone) -> None:
    """Only the first process of the session hears of that, and where it is make, make tells nobody."""
    like_make = f"trap : HUP; {sys.executable} -m local run; exit"
    terminal = clone.start(sys.executable, "-c", f"import pty; pty.spawn(['sh', '-c', {like_make!r}])")
    terminal.wait_ready()
    terminal.end(signal.SIGKILL)
    clone.wait_until_empty()


def test_run_leaves_nothing_when_killed_and_starts_again(clone: Clone) -> None:
    run = clone.supervise()
    run.wait_ready()
    run.end(signal.SIGKILL)
    again = clone.supervise(PORT=run.port)  # at once: it waits for what is left of the first
    again.wait_ready()
    again.end(signal.SIGKILL)
    clone.wait_until_empty()


@pytest.mark.anyio
async def test_run_keeps_the_data_when_every_process_is_killed(clone: Clone) -> None:
    run = clone.supervise()
    run.wait_ready()
    connection = await asyncpg.connect(clone.address("DATABASE_URL"))
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    connection.terminate()
    async with Redis.from_url(clone.address("REDIS_URL")) as redis:
        await redis.set("kept", 42)
    for process in clone.processes():
        with suppress(psutil.NoSuchProcess):  # some end because another has
            process.kill()
    clone.wait_until_empty()

    again = clone.supervise()
    again.wait_ready()
    connection = await asyncpg.connect(clone.address("DATABASE_URL"))
    assert await connection.fetchval("SELECT answer FROM kept") == 42
    connection.terminate()
    async with Redis.from_url(clone.address("REDIS_URL")) as redis:
        assert await redis.get("kept") == b"42"
    again.end()


def test_run_starts_a_server_again_that_ended_by_itself(clone: Clone) -> None:
    run = clone.supervise()
    run.wait_ready()
    for name in "postgres", "valkey-server":
        clone.find(name).kill()
    run.wait_for("Postgres has ended by itself")
    run.wait_for("Valkey has ended by itself")
    run.wait_ready()
    assert run.end(signal.SIGHUP) == 0
    assert clone.processes() == []


def test_reload_says_why_not_and_then_that_it_has(clone: Clone) -> None:
    """A release with a broken feature, then one that is whole, while a client keeps asking."""
    run = clone.supervise()
    run.wait_ready()
    routes = clone.folder / "service" / "features" / "links" / "routes.py"
    whole = routes.read_text()
    routes.write_text(f"{whole}\nraise RuntimeError('half a release')\n")
    refused = clone.start(sys.executable, "-m", "local", "reload")
    assert refused.process.wait(60) == 1
    assert "half a release" in refused.output()
    assert refused.output().splitlines()[-1].startswith("Not reloaded: ")
    assert "Draining" not in run.output()
    routes.write_text(whole)
    done = clone.start(sys.executable, "-m", "local", "reload")
    while done.process.poll() is None:
        assert httpx.get(f"{run.url}/livez").is_success
    assert done.process.returncode == 0
    assert "new workers serve" in done.output()
    assert run.end() == 0


def test_run_refuses_a_port_in_use(clone: Clone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = clone.supervise(PORT=port)
        assert run.process.wait(30) == 1
    assert run.output() == f"Port {port} is in use: end what listens there, or set PORT to another.\n"


def test_run_refuses_to_run_twice(clone: Clone) -> None:
    run = clone.supervise()
    run.wait_ready()
    second = clone.supervise()
    assert second.process.wait(30) == 1
    assert second.output() == "Brigade already runs from this folder: end that run first.\n"
    assert httpx.get(f"{run.url}/livez").is_success
    assert run.end() == 0


def test_run_refuses_a_postgres_that_does_not_answer(clone: Clone) -> None:
    run = clone.supervise(DATABASE_URL="postgresql://nobody@127.0.0.1:1/nothing")
    assert run.process.wait(60) == 1
    assert "DATABASE_URL" in run.output()
    assert "Traceback" not in run.output()
    assert clone.processes() == []


def test_run_says_that_redis_does_not_answer_and_serves_without_it(clone: Clone) -> None:
    run = clone.supervise(REDIS_URL="redis://127.0.0.1:1/0")
    run.wait_ready()
    assert "REDIS_URL: Redis at 127.0.0.1:1 does not answer" in run.output()
    assert "Traceback" not in run.output()
    assert run.end() == 0


def test_run_uses_the_servers_and_the_settings_it_is_given(clone: Clone, database_url: str, redis_url: str) -> None:
    (clone.folder / ".env").write_text(f"DATABASE_URL={database_url}\nEXPOSE_WORKER=0\nPORT=1\n")
    run = clone.supervise(REDIS_URL=redis_url)
    run.wait_ready()
    assert {process.name() for process in clone.processes()}.isdisjoint({"postgres", "valkey-server"})
    assert "X-Worker" not in httpx.get(f"{run.url}/livez").headers
    assert run.end() == 0
