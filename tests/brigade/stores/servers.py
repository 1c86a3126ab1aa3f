"""What stands between the service and its stores, or behind them, in a larger deployment."""

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from secrets import token_urlsafe
from typing import Any, Self

from redis import Redis

from local.process import LocalError, free_port
from local.server import Server
from local.servers import Postgres, Valkey


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


class ValkeyCluster:
    """Three primaries that share the slots, and a replica of the one that has `key`."""

    def __init__(self, folder: Path, *, key: str) -> None:
        self.key = key
        self.password = token_urlsafe(16)
        self.nodes = [self._node(folder / f"node-{number}") for number in range(4)]
        self.primaries = self.nodes[:3]
        self.replica = self.nodes[3]

    def _node(self, folder: Path) -> Valkey:
        settings = {
            "cluster-enabled": "yes",
            "cluster-port": free_port(),
            "cluster-node-timeout": 1000,
            "cluster-replica-validity-factor": 0,
            "masterauth": self.password,
        }
        return Valkey(folder, settings=settings, password=self.password)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.primaries)
        return f"redis+cluster://:{self.password}@{hosts}"

    def __enter__(self) -> Self:
        for node in self.nodes:
            node.start()
        clients: list[Any] = [Redis.from_url(node.url, decode_responses=True) for node in self.nodes]
        bounds = [0, 5461, 10923, 16384]
        for client, first, end in zip(clients, bounds, bounds[1:], strict=False):
            client.execute_command("CLUSTER ADDSLOTSRANGE", first, end - 1)
        for node in self.nodes[1:]:
            clients[0].execute_command("CLUSTER MEET", "127.0.0.1", node.port, dict(node._settings)["cluster-port"])
        slot = int(clients[0].execute_command("CLUSTER KEYSLOT", self.key))
        owner = next(place for place in range(3) if slot < bounds[place + 1])
        self.owner = self.nodes[owner]
        _until(lambda: _all_say(clients, "cluster_known_nodes", "4"))
        clients[3].execute_command("CLUSTER REPLICATE", clients[owner].execute_command("CLUSTER MYID"))
        _until(lambda: _all_say(clients, "cluster_state", "ok"))
        _until(lambda: clients[3].info("replication")["master_link_status"] == "up")
        for client in clients:
            client.close()
        return self

    def __exit__(self, *_: object) -> None:
        for node in self.nodes:
            node.kill()


class Watched:
    """A primary and a replica of it, and the Sentinel that puts one in the other's place."""

    def __init__(self, folder: Path) -> None:
        self.password = token_urlsafe(16)
        self.primary = Valkey(folder / "primary", settings={"masterauth": self.password}, password=self.password)
        self.replica = Valkey(folder / "replica", settings={"masterauth": self.password}, password=self.password)
        self.sentinel = _Sentinel(folder / "sentinel", self.primary, self.password)

    @property
    def url(self) -> str:
        return f"redis+sentinel://:{self.password}@127.0.0.1:{self.sentinel.port}/links/0"

    def __enter__(self) -> Self:
        self.primary.start()
        self.replica.start()
        with Redis.from_url(self.replica.url) as client:
            client.replicaof("127.0.0.1", self.primary.port)
            _until(lambda: client.info("replication")["master_link_status"] == "up")
        self.sentinel.start()
        with Redis(port=self.sentinel.port, decode_responses=True) as client:
            _until(lambda: client.sentinel_master("links")["num-slaves"] == 1)
        return self

    def __exit__(self, *_: object) -> None:
        for server in (self.sentinel, self.replica, self.primary):
            server.kill()


class _Sentinel(Valkey):
    name = "Sentinel"

    def __init__(self, data_dir: Path, primary: Valkey, password: str) -> None:
        super().__init__(data_dir)
        self.lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"sentinel monitor links 127.0.0.1 {primary.port} 1",
            f"sentinel auth-pass links {password}",
            "sentinel down-after-milliseconds links 1000",
            "sentinel failover-timeout links 5000",
        ]

    def _command(self) -> list[str | Path]:
        path = self.data_dir / "sentinel.conf"
        path.write_text("\n".join(self.lines) + "\n")
        return [super()._command()[0], path, "--sentinel"]

    def _configuration(self) -> str:
        return ""

    def _ready(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True


def _all_say(clients: Sequence[Any], name: str, value: str) -> bool:
    return all(client.execute_command("CLUSTER INFO")[name] == value for client in clients)


def _until(holds: Callable[[], bool], *, within_s: float = 20) -> None:
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
