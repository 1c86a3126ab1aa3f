"""A minute of each fault against a real Prometheus with the rules of deploy/: its alert fires, and no other.

Takes eight minutes, so it runs only by its name: make test ARGS="-s tests/e2e/alert_faults.py"
"""

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from local.process import free_port, terminate
from local.servers import Postgres, Valkey
from tests.brigade.ops.test_ops import eventually
from tests.conftest import StartService

DEPLOY = Path(__file__).parents[2] / "deploy"
HEALTHY_S, FAULT_S = 20, 60

pytestmark = pytest.mark.timeout(300)


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[Callable[[], set[str]]]:
    """Asks for the alerts that fire."""
    port = free_port()
    configuration = (DEPLOY / "prometheus.yml").read_text()
    static = f'static_configs: [{{targets: ["127.0.0.1:{target}"]}}]\n'
    (folder / "prometheus.yml").write_text(re.sub(r"dns_sd_configs:[\s\S]*", static, configuration))
    shutil.copy(DEPLOY / "alerts.yml", folder)
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], cwd=folder, stdout=log, stderr=log
        )

    def firing() -> set[str]:
        alerts = httpx.get(f"http://127.0.0.1:{port}/api/v1/alerts").raise_for_status().json()["data"]["alerts"]
        return {alert["labels"]["alertname"] for alert in alerts if alert["state"] == "firing"}

    def ready() -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/-/ready").is_success
        return False

    try:
        eventually(ready, within_s=30)
        yield firing
    finally:
        terminate(process, within_s=10)


@contextmanager
def asked(url: str, clients: int) -> Iterator[None]:
    """By so many clients, again and again."""
    stop = threading.Event()

    def ask() -> None:
        with httpx.Client(timeout=30) as client:
            while not stop.wait(0.05):
                with suppress(httpx.HTTPError):
                    client.get(url)

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    yield
    stop.set()
    for thread in threads:
        thread.join()


@contextmanager
def away(server: Postgres | Valkey) -> Iterator[None]:
    server.stop()
    yield
    server.start()


@dataclass(frozen=True)
class Fault:
    alert: str
    caused: Callable[[str, Postgres, Valkey], AbstractContextManager[None]]
    variables: dict[str, int] = field(default_factory=dict)


FAULTS = [
    Fault("EventLoopBlocked", lambda url, *_: asked(f"{url}/lab/sleep/blocking?ms=1000", clients=1)),
    Fault("CpuLaneFull", lambda url, *_: asked(f"{url}/lab/cpu/in-lane?ms=500", clients=6), {"CPU_LANE_QUEUE": 2}),
    Fault("PostgresPoolExhausted", lambda url, *_: asked(f"{url}/lab/io/db?ms=3000", 8), {"DB_CONNECTION_BUDGET": 8}),
    Fault("PostgresDown", lambda _, postgres, __: away(postgres)),
    Fault("RedisDown", lambda _, __, valkey: away(valkey)),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.alert)
def test_a_minute_of_a_fault_fires_its_alert_and_no_other(
    start_service: StartService, postgres: Postgres, valkey: Valkey, tmp_path: Path, fault: Fault
) -> None:
    ops_port = free_port()
    service = start_service(workers=2, OPS_PORT=ops_port, **fault.variables)  # type: ignore[arg-type]
    httpx.post(f"{service.url}/links", json={"url": "https://example.com", "code": "always"}).raise_for_status()
    with prometheus(tmp_path, ops_port) as firing, asked(f"{service.url}/r/always", clients=2):
        assert _fired(firing, HEALTHY_S) == {}
        with fault.caused(service.url, postgres, valkey):
            fired = _fired(firing, FAULT_S)
    print(f"\n{fault.alert}: {fired or 'nothing fired'}")  # noqa: T201 - for whoever waits eight minutes
    assert fired.keys() == {fault.alert}


def _fired(firing: Callable[[], set[str]], seconds: int) -> dict[str, str]:
    """The alerts that fired meanwhile, and after how long."""
    began, fired = time.monotonic(), dict[str, str]()
    while (passed := time.monotonic() - began) < seconds:
        for alert in firing():
            fired.setdefault(alert, f"after {passed:.0f} s")
        time.sleep(1)
    return fired
