"""What Postgres and Redis may answer instead of what they were asked for, done to real servers and undone again."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis as redis_sync

from local.servers import Postgres, Valkey
from tests.brigade.cli.conftest import query
from tests.brigade.stores.refusing_redis import RefusingRedis
from tests.running import stopped

ROLE, PASSWORD = "app", "s3cret"


class PostgresUnderTest:
    """A database and a role of its own, which the service uses and the superuser spoils."""

    def __init__(self, server: Postgres, database_url: str) -> None:
        self.server = server
        self.admin = database_url
        self.database = database_url.rpartition("/")[2]
        self.elsewhere = server.url
        self.url = f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{server.port}/{self.database}"
        if not query(self.elsewhere, f"SELECT 1 FROM pg_roles WHERE rolname = '{ROLE}'"):
            query(self.elsewhere, f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'")
        query(self.admin, f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE}")
        query(self.admin, f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {ROLE}")

    @contextmanager
    def silent(self) -> Iterator[None]:
        with stopped(self.server.pid):
            yield

    @contextmanager
    def refusing(self) -> Iterator[None]:
        self.server.stop()
        yield
        self.server.start()

    def terminated(self) -> None:
        query(self.elsewhere, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{ROLE}'")

    @contextmanager
    def gone(self) -> Iterator[None]:
        """The database, under another name."""
        self._rename(self.database, "gone")
        yield
        self._rename("gone", self.database)
        self.terminated()

    def _rename(self, name: str, to: str) -> None:
        """Nobody may connect meanwhile: a session keeps a database from being renamed."""
        query(self.elsewhere, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        self.terminated()
        query(self.elsewhere, f"ALTER DATABASE {name} RENAME TO {to}")
        query(self.elsewhere, f"ALTER DATABASE {to} ALLOW_CONNECTIONS true")

    def until(self, spoil: str, undo: str, *, inside: bool = False) -> Callable[[], Any]:
        """Do `spoil` and end all sessions; `undo` it later. Inside the database, or from another one."""

        @contextmanager
        def fault() -> Iterator[None]:
            url = self.admin if inside else self.elsewhere
            self.terminated()
            query(url, spoil)
            self.terminated()
            yield
            query(url, undo)
            self.terminated()

        return fault

    @contextmanager
    def barred(self) -> Iterator[None]:
        """By a rule of pg_hba.conf."""
        rules = Path(self.server.cluster) / "pg_hba.conf"
        before = rules.read_text()
        rules.write_text(f"host {self.database} {ROLE} all reject\n{before}")
        query(self.elsewhere, "SELECT pg_reload_conf()")
        self.terminated()
        yield
        rules.write_text(before)
        query(self.elsewhere, "SELECT pg_reload_conf()")


class RedisUnderTest:
    """A user of its own, and a way on which errors can be given that a server would not give."""

    def __init__(self, server: Valkey, way: RefusingRedis) -> None:
        self.server = server
        self.way = way
        self.url = f"redis://{ROLE}:{PASSWORD}@127.0.0.1:{way.port}/0"
        self.let_in()

    def let_in(self) -> None:
        self.do("ACL", "SETUSER", ROLE, "reset", "on", f">{PASSWORD}", "~*", "&*", "+@all")

    def do(self, *command: object) -> Any:
        with redis_sync.Redis.from_url(self.server.url) as client:
            return client.execute_command(*command)

    @contextmanager
    def silent(self) -> Iterator[None]:
        with stopped(self.server.pid):
            yield

    @contextmanager
    def refusing(self) -> Iterator[None]:
        self.server.stop()
        yield
        self.server.start()
        self.let_in()

    def with_rules(self, *rules: str) -> Callable[[], Any]:
        @contextmanager
        def fault() -> Iterator[None]:
            self.do("ACL", "SETUSER", ROLE, *rules)
            self.do("CLIENT", "KILL", "USER", ROLE)
            yield
            self.let_in()

        return fault

    def configured(self, name: str, value: object, back: object) -> Callable[[], Any]:
        @contextmanager
        def fault() -> Iterator[None]:
            self.do("CONFIG", "SET", name, value)
            yield
            self.do("CONFIG", "SET", name, back)

        return fault

    @contextmanager
    def replica(self) -> Iterator[None]:
        self.do("REPLICAOF", "127.0.0.1", "1")
        yield
        self.do("REPLICAOF", "NO", "ONE")

    @contextmanager
    def busy(self) -> Iterator[None]:
        self.do("CONFIG", "SET", "busy-reply-threshold", 10)

        def compute() -> None:
            with suppress(redis_sync.RedisError):
                self.do("EVAL", "while true do end", 0)

        computing = threading.Thread(target=compute)
        computing.start()
        yield
        self.do("SCRIPT", "KILL")
        computing.join()

    def spoilt(self, *commands: str) -> Callable[[], Any]:
        """Every key that there is holds something else."""

        @contextmanager
        def fault() -> Iterator[None]:
            for key in self.do("KEYS", "*"):
                self.do("DEL", key)
                self.do(commands[0], key, *commands[1:])
            yield
            self.do("FLUSHALL")

        return fault
