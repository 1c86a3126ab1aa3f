"""The servers of a proof: one Postgres, one Valkey, and a service for each number of workers, all up at the same time.

So windows can alternate between them, and no restart lies between the two sides of a ratio.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from local.process import LocalError, terminate
from local.servers import Postgres, Valkey
from proof.prove.client import answering_host, read_workers
from proof.prove.own_service import ROOT, OwnService, environment, has_jobs, migrate, start_runner

# The proof is not about the disk.
FAST = {"fsync": "off", "full_page_writes": "off"}

SETTLED_WITHIN_S = 15.0


class Stage(Protocol):
    """The place where the windows are measured."""

    own: bool
    statements: Path | None
    """The file to which its Postgres writes each statement; None if that is not known."""
    ports: set[int]
    """Ports of its Postgres and its Redis, if they are known."""

    def log(self, workers: int) -> Path | None: ...

    def url(self, workers: int) -> str: ...

    def state(self, workers: int) -> dict[str, Any]:
        """Its /workers."""

    def settle(self) -> None:
        """Wait for what has not come back from the window before."""

    def recover(self, workers: int) -> None:
        """Called when that service does not answer any more."""


class Deployment:
    """One that runs already: it has the workers it has."""

    own = False
    statements: Path | None = None
    ports: set[int] = set()  # noqa: RUF012 - never changed

    def __init__(self, host: str, ops_url: str | None = None) -> None:
        self._url = host.rstrip("/")
        self._ops_url = (ops_url or host).rstrip("/")
        try:
            self.state(1)
        except (OSError, ValueError) as error:
            raise LocalError(
                f"{self._ops_url} does not tell about its workers, at /workers: {error}. With OPS_PUBLIC off, --ops-url says where."
            ) from None

    def state(self, workers: int) -> dict[str, Any]:  # noqa: ARG002
        return read_workers(self._ops_url)

    def log(self, workers: int) -> None: ...

    def settle(self) -> None:
        """A proxy takes a replica that was busy for a dead one, for seconds: until each has answered again."""
        away = {worker["host"] for worker in self.state(1)["workers"]}
        deadline = time.monotonic() + SETTLED_WITHIN_S
        while away and time.monotonic() < deadline:
            host = answering_host(self._url)
            away = away - {host} if host else set()

    def url(self, workers: int) -> str:  # noqa: ARG002
        return self._url

    def recover(self, workers: int) -> None:  # noqa: ARG002
        raise LocalError(f"{self._url} does not answer any more.")


class OwnServices:
    own = True

    def __init__(self, services: Mapping[int, OwnService], postgres: Postgres, valkey: Valkey) -> None:
        self._services = services
        self.statements: Path | None = postgres.data_dir / "log"
        self.ports = {postgres.port, valkey.port}

    def log(self, workers: int) -> Path:
        return self._services[workers].log

    def url(self, workers: int) -> str:
        return self._services[workers].url

    def state(self, workers: int) -> dict[str, Any]:
        return read_workers(self.url(workers))

    def settle(self) -> None:
        """Nothing stands before these."""

    def recover(self, workers: int) -> None:
        self._services[workers].restart()


@dataclass(frozen=True)
class Staging:
    """The service to start: its project, its variables, and the settings of its Postgres."""

    project: Path = ROOT
    variables: Mapping[str, str] = field(default_factory=dict)
    postgres: Mapping[str, str] = field(default_factory=dict)
    runner: bool = False
    """Whether a runner does the project's jobs, if it has any."""


@contextmanager
def own_services(counts: Iterable[int], staging: Staging = Staging()) -> Iterator[OwnServices]:
    counts, project = sorted(set(counts)), staging.project
    with ExitStack() as stack:
        home = Path(stack.enter_context(TemporaryDirectory(prefix="proof-", ignore_cleanup_errors=True)))
        home.chmod(0o755)  # as root, Postgres runs as another user
        postgres = stack.enter_context(Postgres(home / "postgres", settings=FAST | dict(staging.postgres)))
        valkey = stack.enter_context(Valkey(home / "valkey"))
        shared = {"DATABASE_URL": postgres.url, "REPLICAS": str(len(counts)), **staging.variables}
        migrate(environment(shared | {"REDIS_URL": valkey.url}, home, project), project)
        if staging.runner and has_jobs(project):
            runner = start_runner(environment(shared | {"REDIS_URL": valkey.url}, home, project), home, project)
            stack.callback(terminate, runner)
        services: dict[int, OwnService] = {}
        for number, workers in enumerate(counts):
            redis = f"{valkey.url.rpartition('/')[0]}/{number}"  # /workers lists what shares a Redis database
            service = OwnService(workers, shared | {"REDIS_URL": redis}, home / f"service-{workers}", project)
            if services:
                service.work_as(services[counts[0]])
            service.start()
            stack.callback(service.stop)
            services[workers] = service
        for service in services.values():
            service.wait_until_ready()
        yield OwnServices(services, postgres, valkey)
