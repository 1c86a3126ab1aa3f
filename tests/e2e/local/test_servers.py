"""The embedded servers: what they keep, whom they let in, and when they end."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import asyncpg
import psutil
import pytest
import redis as redis_sync
from redis.backoff import NoBackoff
from redis.retry import Retry

from local.process import LocalError, is_held
from local.server import Server
from local.servers import Postgres, Valkey

pytestmark = pytest.mark.anyio
FAST = {"fsync": "off"}
MAKERS = [lambda folder: Postgres(folder, settings=FAST), Valkey]


async def test_postgres_keeps_what_it_acknowledged_over_a_crash(tmp_path: Path) -> None:
    with Postgres(tmp_path, settings=FAST) as server:
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        server.kill()
        connection.terminate()
        server.start()
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SELECT answer FROM kept") == 42
        await connection.close()


def test_valkey_keeps_what_it_acknowledged_over_a_crash(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server, redis_sync.Redis.from_url(server.url) as client:
        client.set("kept", 42)
        server.kill()
        server.start()
        assert client.get("kept") == b"42"


@pytest.mark.parametrize("make", MAKERS)
def test_server_starts_in_a_folder_of_any_name(tmp_path: Path, make: Callable[[Path], Server]) -> None:
    with make(tmp_path / 'Jürgen\'s "brigade"') as server:
        assert server.running


async def test_postgres_asks_for_a_password(postgres: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(postgres.url, password="a guess")


async def test_complete_url_leaves_nothing_to_the_shell(postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {"PGSSLMODE": "verify-full", "PGTARGETSESSIONATTRS": "standby", "PGUSER": "nobody", "PGPASSWORD": "x"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises((asyncpg.PostgresError, OSError, asyncpg.InterfaceError, asyncpg.ClientConfigurationError)):
        await asyncpg.connect(postgres.url)
    connection = await asyncpg.connect(postgres.complete_url)
    await connection.close()


def test_valkey_asks_for_a_password(valkey: Valkey) -> None:
    with (
        redis_sync.Redis(port=valkey.port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis_sync.AuthenticationError),
    ):
        client.ping()


def test_passwords_are_in_no_command_line(postgres: Postgres, valkey: Valkey) -> None:
    for server in postgres, valkey:
        password = server.url.partition("@")[0].rpartition(":")[2]
        assert password not in " ".join(psutil.Process(server.pid).cmdline())


@pytest.mark.parametrize("make", MAKERS, ids=["postgres", "valkey"])
def test_server_ends_with_the_process_that_started_it(make: Callable[[Path], Server], tmp_path: Path) -> None:
    name = type(make(tmp_path)).__name__
    code = f"import os, pathlib; from local.servers import *; {name}(pathlib.Path({str(tmp_path)!r})).start(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    with make(tmp_path) as server:  # waits for the one before, and finds nothing in its way
        assert server.running


def test_postgres_holds_its_folder_until_its_last_process_has_gone(tmp_path: Path) -> None:
    with Postgres(tmp_path, settings=FAST) as server:
        last = psutil.Process(server.pid).children()[0]
        last.suspend()
        os.kill(server.pid, signal.SIGKILL)
        assert is_held(tmp_path / "lock")
        last.kill()
        server.kill()
        assert not is_held(tmp_path / "lock")


def test_postgres_says_in_a_sentence_why_it_does_not_start(tmp_path: Path) -> None:
    with pytest.raises(LocalError, match=r"Postgres did not start: .*no_such_setting.*log"):
        Postgres(tmp_path, settings={"no_such_setting": "on"}).start()


def test_postgres_starts_over_where_its_creation_was_cut_short(tmp_path: Path) -> None:
    (tmp_path / "cluster.new").mkdir()
    (tmp_path / "cluster.new" / "PG_VERSION").write_text("18")
    with Postgres(tmp_path, settings=FAST) as server:
        assert server.running


async def test_postgres_keeps_its_data_where_the_file_of_its_password_is_lost(tmp_path: Path) -> None:
    with Postgres(tmp_path, settings=FAST) as server:
        connection = await asyncpg.connect(server.url)
        await connection.execute("CREATE TABLE kept ()")
        await connection.close()
    (tmp_path / "password").unlink()
    with Postgres(tmp_path, settings=FAST) as server:
        connection = await asyncpg.connect(server.url)
        assert await connection.fetch("SELECT FROM kept") == []
        await connection.close()


async def test_postgres_takes_no_other_process_for_itself(postgres: Postgres, tmp_path: Path) -> None:
    """A stale pid file may name a process that lives, as after a reboot or in a container."""
    with Postgres(tmp_path, settings=FAST) as server:
        server.kill()
        pid_file = tmp_path / "cluster" / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(postgres.pid), *lines[1:]]) + "\n")
        server.start()
        connection = await asyncpg.connect(server.url)
        await connection.close()
