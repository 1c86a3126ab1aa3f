from pathlib import Path

from local.servers import Postgres, Standby
from tests.brigade.cli.conftest import Run


def test_doctor_tells_a_standby_from_a_primary(
    run: Run, postgres: Postgres, database_url: str, redis_url: str, tmp_path: Path
) -> None:
    backends = {"DATABASE_URL": database_url, "REDIS_URL": redis_url}
    with Standby(tmp_path, postgres, settings={"fsync": "off"}) as standby:
        assert "ok      replica" in run("doctor", DATABASE_READ_URL=standby.url, **backends).stdout
    away = run("doctor", DATABASE_READ_URL=standby.url, **backends)
    assert "wrong   replica      DATABASE_READ_URL" in away.stdout
    assert "advice  replica" in run("doctor", DATABASE_READ_URL=database_url, **backends).stdout
