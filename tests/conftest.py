"""Real servers for every test: one Postgres and one Valkey a session, a database of its own for each test."""

import os
import secrets
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
import hypothesis
import pytest
from httpx._transports import default
from structlog._config import BoundLoggerLazyProxy
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

from brigade.stores.schema import schema
from brigade.telemetry import metrics
from brigade.testing import CreateApp, RunningService, Servers, StartService, new_database
from local.process import free_port
from local.servers import Postgres, Valkey
from local.variables import without_libpq
from service import main
from service.settings import Settings

__all__ = ["ROOT", "StartService"]

ROOT = Path(__file__).parent.parent
# The machine's disk is not under test. Commits stay synchronous: a killed Postgres must lose none.
FAST = {"fsync": "off", "full_page_writes": "off"}
NAMES = {feature.__name__.rpartition(".")[2] for feature in main.FEATURES}


# Hypothesis would draw the same in every run of CI; here each run draws anew, and says from what seed.
hypothesis.settings.register_profile("drawn", derandomize=False, deadline=None, print_blob=True)
hypothesis.settings.load_profile("drawn")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    _be_as_in_a_shell()
    # httpx loads the certificates of the system for each client: 30 ms each time, in thousands of requests to http://.
    default.create_ssl_context = cache(httpx.create_ssl_context)  # type: ignore[attr-defined]
    for name in os.environ.keys() - without_libpq(os.environ):
        del os.environ[name]  # the shell's PGSSLMODE is for another Postgres than these
    if config.option.hypothesis_seed is None:
        config.option.hypothesis_seed = str(secrets.randbelow(2**32))


def _be_as_in_a_shell() -> None:
    """What tests start inherits this: a signal that our own parent ignores or blocks would not end it. A hangup stays
    ignored under nohup.
    """
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell's job in the background has it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.umask(0o022)


def pytest_report_header(config: pytest.Config) -> str:
    return f"what is drawn: --hypothesis-seed={config.option.hypothesis_seed}"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What may take longest begins first, so that no process has it left at the end."""
    driven = {item: {feature for mark in item.iter_markers("drives") for feature in mark.args} for item in items}
    gone = [item for item in items if not driven[item] <= {*NAMES, "lab"}]
    config.hook.pytest_deselected(items=gone)
    for item in items:
        if item.nodeid.startswith(UNCOVERED) or item.get_closest_marker("fuzz"):
            item.add_marker("no_cover")
    items[:] = sorted((item for item in items if item not in gone), key=_bound_s, reverse=True)


UNCOVERED = ("tests/e2e/", "tests/proof/", "tests/loadtests/")
"""These are not traced, nor is what asks at random: to trace their own calls takes a third of their time, and what they start runs
elsewhere.
"""


def _bound_s(item: pytest.Item) -> float:
    bound = item.get_closest_marker("timeout")
    return float(bound.args[0]) if bound else 0.0


TOGETHER = (("tests/e2e/compose/",), ("tests/e2e/", "tests/brigade/lab/"), ("tests/proof/", "tests/loadtests/"))
"""Each has one process: the one stack of containers; fresh clones and browsers; what measures on the same cores."""


class OneAtATime(LoadScopeScheduling):  # type: ignore[misc]
    """Keeps what is `TOGETHER` in one process; any other test goes where there is room."""

    def _split_scope(self, nodeid: str) -> str:
        return next((folders[0] for folders in TOGETHER if nodeid.startswith(folders)), nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> OneAtATime:
    return OneAtATime(config, log)


@pytest.fixture(autouse=True)
def _forget_schema() -> Iterator[None]:
    """A test's own database has its own tables, whatever application an earlier test made."""
    yield
    schema.expect(())


@pytest.fixture(scope="module")
def bare_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No variable of the service is set, and no `.env` is near."""
    with pytest.MonkeyPatch.context() as patch:
        for name in Settings.model_fields:
            patch.delenv(name.upper(), raising=False)
            patch.delenv(f"{name.upper()}_FILE", raising=False)
        patch.chdir(tmp_path_factory.mktemp("bare"))
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("postgres"), settings=FAST) as server:
        yield server


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with Valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def servers(postgres: Postgres, valkey: Valkey) -> Servers:
    return running(postgres, valkey)


def running(postgres: Postgres, valkey: Valkey) -> Servers:
    """Start those that the test before has stopped."""
    for server in (postgres, valkey):
        if not server.running:
            server.start()
    return Servers(postgres.url, valkey.url)


@pytest.fixture(scope="module")
def shared_service(
    postgres: Postgres, valkey: Valkey, create_app: CreateApp, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """One worker with its defaults and the lab, for tests of a module that leave it as it was: to start one takes 2 s of CPU."""
    servers = running(postgres, valkey)
    with new_database(servers, create_app) as url:
        urls = {"DATABASE_URL": url, "REDIS_URL": servers.redis_url}
        home = tmp_path_factory.mktemp("shared") / "service"
        with one_worker(home, **urls, LAB_ENABLED="1", EXPOSE_WORKER="1") as service:
            yield service


@contextmanager
def one_worker(home: Path, **variables: str) -> Iterator[RunningService]:
    """Start a service with one worker for a fixture of any scope, and end it."""
    own = {"PORT": f"{free_port()}", "WEB_CONCURRENCY": "1"}
    service = RunningService.start("service", ROOT, home=home, variables=own | variables)
    service.wait_ready()
    yield service
    service.stop(within_s=10)


@pytest.fixture(scope="session")
def create_app() -> CreateApp:
    return main.create_app


@pytest.fixture(autouse=True)
def _own_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process counts how long connections are held, and here it has other pools in each test."""
    for stats in (metrics.postgres, metrics.replica):
        monkeypatch.setattr(stats, "held_s", stats.held_s)


@pytest.fixture(autouse=True)
def _own_loggers() -> None:
    """A logger of structlog keeps the configuration of its first use, and would hide from `capture_logs` in later tests."""
    for module in list(sys.modules.values()):
        logger = vars(module).get("log")
        if isinstance(logger, BoundLoggerLazyProxy):
            vars(logger).pop("bind", None)
