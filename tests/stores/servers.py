"""What stands between the service and its stores, or behind them, in a larger deployment."""

import shutil
import signal
import socket
import subprocess
from pathlib import Path

from local.process import NOT_ROOT, LocalError
from local.server import Server
from local.servers import Postgres


class PgBouncer(Server):
    """In transaction mode, in front of `postgres`; few connections to it, so that they change hands.

    It keeps no prepared statements, as before 1.21; tests/e2e/compose has one that does.
    """

    name = "PgBouncer"
    stop_signal = signal.SIGKILL  # others mean one thing to 1.18 and another to 1.23; it keeps nothing
    root_allowed = False

    def __init__(self, data_dir: Path, postgres: Postgres, *, settings: dict[str, str]) -> None:
        super().__init__(data_dir)
        self.postgres = postgres
        self._settings = {
            "listen_addr": "127.0.0.1",
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "scram-sha-256",
            "auth_file": str(self.data_dir / "users"),
            "pool_mode": "transaction",
            "default_pool_size": "3",
            "max_client_conn": "500",
            **settings,
        }

    @property
    def url(self) -> str:
        return self.postgres.url.replace(f":{self.postgres.port}/", f":{self.port}/")

    def _prepare(self) -> None:
        password = self.postgres.url.partition("brigade:")[2].partition("@")[0]
        (self.data_dir / "users").write_text(f'"brigade" "{password}"\n')
        server = f"host=127.0.0.1 port={self.postgres.port} connect_query='SET statement_timeout = 2000'"
        lines = [
            "[databases]",
            f"* = {server}",
            "[pgbouncer]",
            *(f"{key} = {value}" for key, value in self._settings.items()),
        ]
        (self.data_dir / "ini").write_text("\n".join(lines) + "\n")

    def _command(self) -> list[str | Path]:
        return [_program(), self.data_dir / "ini"]

    def _ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def _version() -> tuple[int, ...]:
    said = subprocess.run([_program(), "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(map(int, said.split()[1].split(".")))


def _program() -> str:
    found = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if found is None:
        raise LocalError("There is no pgbouncer here: apt-get install pgbouncer.")
    return found


class Standby(Postgres):
    """A streaming replica of `primary`."""

    def __init__(self, data_dir: Path, primary: Postgres) -> None:
        super().__init__(data_dir, settings={"fsync": "off"})
        self.primary = primary

    @property
    def url(self) -> str:
        return self.primary.url.replace(f":{self.primary.port}/", f":{self.port}/")

    def _create_cluster(self) -> None:
        self._cluster.mkdir(mode=0o700)
        shutil.chown(self._cluster, NOT_ROOT)
        copy: list[str | Path] = [
            self._binaries / "pg_basebackup",
            "-d",
            self.primary.url,
            "-D",
            self._cluster,
            "-R",
            "-X",
            "stream",
        ]
        if self._spawn([*copy, "--checkpoint=fast", "--no-sync"]).wait() != 0:
            raise LocalError(f"pg_basebackup: {self._log.read_text()}")
