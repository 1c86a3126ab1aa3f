"""The service that is hurt, as a process, and what it depends on, each behind a proxy that can fail."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import psutil
from redis.asyncio import Redis

from local.process import LocalError, free_port, spawn, terminate
from local.servers import Postgres, Standby, Valkey
from proof.chaos.disk import Disk
from proof.chaos.proxy import Proxy
from proof.prove.client import ask, is_ready, read_workers
from proof.prove.own_service import ROOT

LINKS = 50
JOBS = 1000
START_TIMEOUT_S = 60.0

SETTINGS = {
    "WEB_CONCURRENCY": "2",
    "LAB_ENABLED": "1",
    "WORKER_TIMEOUT_S": "3",
    "REQUEST_TIMEOUT_S": "8",
    "GRACEFUL_TIMEOUT_S": "12",
    "HEADER_TIMEOUT_S": "2",
    "BODY_TIMEOUT_S": "2",
    "STOP_DELAY_S": "0.5",
    "ACCESS_LOG_SAMPLE": "0.5",  # with a task and by a shortcut
}


class Stage:
    def __init__(self, home: Path, log: Path, postgres: Postgres, valkey: Valkey) -> None:
        self.home = home
        self._log = log
        self.postgres, self.valkey = postgres, valkey
        self.to_postgres, self.to_redis = Proxy(postgres.port), Proxy(valkey.port)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.codes: list[str] = []
        self.standby: Standby | None = None
        self.disk: Disk | None = None
        self.jobs = JOBS
        """Jobs in the middle of which something is killed."""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def master(self) -> psutil.Process:
        assert self._process is not None
        return psutil.Process(self._process.pid)

    def workers(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            return self.master.children()
        return []

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def configure(self, **variables: str) -> None:
        """Write variables to the file that a reload reads again."""
        own = {
            "DATABASE_URL": _by_way_of(self.postgres.url, self.to_postgres),
            "REDIS_URL": _by_way_of(self.valkey.url, self.to_redis),
            "STATE_DIR": str(self.home / "state"),
            "PORT": str(self.port),
        }
        lines = [f"{name}={value}\n" for name, value in (own | SETTINGS | variables).items()]
        (self.home / ".env").write_text("".join(lines))

    def url_of_both(self) -> str:
        """The primary first, through its proxy, and then the standby directly."""
        assert self.standby
        before, _, database = _by_way_of(self.postgres.url, self.to_postgres).rpartition("/")
        return f"{before},127.0.0.1:{self.standby.port}/{database}?target_session_attrs=read-write"

    def migrate(self) -> None:
        self._run("migrate").wait(START_TIMEOUT_S)

    async def start(self) -> None:
        self._process = self._run("run")
        await self.until(lambda: is_ready(self.url), "ready")

    def work(self) -> "subprocess.Popen[bytes]":
        """Start a runner of jobs, which its caller ends."""
        return self._run("work")

    def _run(self, command: str) -> "subprocess.Popen[bytes]":
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "PYTHONPATH": str(ROOT)}
        with self._log.open("ab") as log:
            command_line = [sys.executable, "-m", "service", command]
            return spawn(command_line, env=environment, cwd=self.home, stdout=log, stderr=log)

    def make_links(self) -> None:
        for number in range(LINKS):
            body = json.dumps({"url": f"https://example.com/{number}"}).encode()
            self.codes.append(json.loads(ask(self.url, "/links", body=body)[1])["code"])

    def send(self, number: signal.Signals) -> None:
        self.master.send_signal(number)

    async def stop(self) -> int:
        """Its exit status."""
        assert self._process is not None
        await asyncio.to_thread(terminate, self._process)
        return self._process.returncode

    async def kill(self) -> None:
        """All of it, at once."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        await asyncio.to_thread(self._process.wait)

    async def replace(self) -> None:
        """Start another service after one that did not recover, so that the next fault has one to hurt."""
        await self.to_postgres.heal()
        await self.to_redis.heal()
        await self.kill()
        await self.start()

    async def end(self) -> None:
        """Also what a broken promise has left."""
        if self._process is not None:
            await self.stop()
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def reload(self) -> None:
        """Until the last of the old workers has gone."""
        old = set(self.workers())
        self.send(signal.SIGHUP)
        await self.until(lambda: not old & set(self.workers()), "reloaded")

    async def until(self, happened: Callable[[], bool], what: str, within_s: float = START_TIMEOUT_S) -> None:
        deadline = time.monotonic() + within_s
        while not await asyncio.to_thread(happened):
            if time.monotonic() > deadline:
                raise LocalError(f"The service was not {what} within {within_s:g} s: {self.log()[-3000:]}")
            await asyncio.sleep(0.05)

    def is_whole(self) -> bool:
        """Say whether all workers are there and serve."""
        workers = {worker.pid for worker in self.workers()}
        with suppress(OSError, ValueError, KeyError):
            told = {worker["pid"] for worker in read_workers(self.url, timeout_s=2)["workers"]}
            return len(workers) == int(SETTINGS["WEB_CONCURRENCY"]) and workers <= told
        return False

    def state(self) -> dict[str, Any]:
        return read_workers(self.url)

    async def sql(self, statement: str) -> Any:
        """One value, asked past the proxy."""
        connection = await asyncpg.connect(self.postgres.complete_url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    async def clicks(self) -> int:
        return int(await self.sql("SELECT coalesce(sum(clicks), 0) FROM links"))

    async def take_connections(self, seconds: float) -> None:
        """All that Postgres has, after the service's own are ended; tried again and again, as it opens others."""
        others: list[Any] = []
        keeper = await asyncpg.connect(self.postgres.complete_url)  # a superuser's, of those that are reserved
        deadline = time.monotonic() + seconds
        try:
            while time.monotonic() < deadline:
                await keeper.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'service.%'"
                )
                with suppress(asyncpg.TooManyConnectionsError):
                    while True:
                        others.append(await asyncpg.connect(self.postgres.complete_url))
                await asyncio.sleep(0.2)
        finally:
            for connection in [*others, keeper]:
                connection.terminate()

    async def keep_everything(self) -> None:
        async with self.redis() as redis:
            await redis.config_set("appendfsync", "always")

    def redis(self) -> Redis:
        return Redis.from_url(self.valkey.url)


def _by_way_of(url: str, proxy: Proxy) -> str:
    before, _, after = url.rpartition(":")
    return f"{before}:{proxy.port}/{after.partition('/')[2]}"


@asynccontextmanager
async def stage(log: Path) -> AsyncIterator[Stage]:
    """Redis writes to disk before each answer: what it would lose in a crash is not the service's to keep."""
    with _folder(log) as home, Postgres(home / "postgres") as postgres, Valkey(home / "valkey") as valkey:
        built = Stage(home, log, postgres, valkey)
        try:
            await built.keep_everything()
            await built.to_postgres.open()
            await built.to_redis.open()
            built.configure()
            await asyncio.to_thread(built.migrate)
            await built.start()
            await asyncio.to_thread(built.make_links)
            yield built
        finally:
            await built.end()
            await asyncio.to_thread(built.postgres.stop)  # another than at first, after a fail-over
            await built.to_postgres.close()
            await built.to_redis.close()


@contextmanager
def _folder(log: Path) -> Iterator[Path]:
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_bytes(b"")
    with TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        home.chmod(0o755)  # as root, Postgres runs as another user
        yield home
