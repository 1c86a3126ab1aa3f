from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from local.servers import Postgres
from tests.brigade.cli.conftest import code, command, empty_database, free_port, run
from tests.brigade.stores.servers import PgBouncer

__all__ = ["code", "command", "empty_database", "free_port", "run"]

StartPooler = Callable[..., PgBouncer]


@pytest.fixture
def start_pooler(postgres: Postgres, tmp_path: Path) -> Iterator[StartPooler]:
    """Keywords are settings of PgBouncer. Its database is the one of a test's `database_url`."""
    started: list[PgBouncer] = []

    def start(**settings: str) -> PgBouncer:
        started.append(PgBouncer(tmp_path / f"pgbouncer-{len(started)}", postgres, settings=settings))
        started[-1].start()
        return started[-1]

    yield start
    for pooler in started:
        pooler.stop()
