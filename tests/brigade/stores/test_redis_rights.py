"""A user of Redis with the rights that docs/stores.md asks for, and no others: the service does all of its work."""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from redis import Redis

from tests.brigade.ops.test_ops import eventually
from tests.brigade.stores.servers import ValkeyCluster, Watched
from tests.conftest import ROOT, StartService

pytestmark = pytest.mark.drives("links")

USER = "brigade:password@"
RIGHTS, RIGHTS_IN_A_CLUSTER = re.findall(
    r"^ACL SETUSER .+$", (ROOT / "docs/stores.md").read_text("utf-8"), re.MULTILINE
)


@pytest.fixture(params=["cluster", "sentinel"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Make the user of the page on each server, and yield the URL by which that user reaches them."""
    with ExitStack() as stack:
        if request.param == "cluster":
            cluster = stack.enter_context(ValkeyCluster(tmp_path, key="{test:links}:clicks"))
            servers, url = cluster.nodes, cluster.url.replace(f":{cluster.password}@", USER)
            commands = [RIGHTS, RIGHTS_IN_A_CLUSTER]
        else:
            watched = stack.enter_context(Watched(tmp_path))
            servers, url = [watched.primary, watched.replica], watched.url.replace(f":{watched.password}@", USER)
            commands = [RIGHTS]
        for server in servers:
            with Redis.from_url(server.url) as client:
                for command in commands:
                    client.execute_command(*command.split())
        yield url


def test_few_rights_suffice(start_service: StartService, url: str) -> None:
    service = start_service(workers=2, REDIS_URL=url, RATE_LIMIT="1000/minute")
    with httpx.Client(base_url=service.url, timeout=20) as client:
        assert client.get("/readyz").json()["status"] == "ready"
        code = client.post("/links", json={"url": "http://example.com/"}).json()["code"]
        for _ in range(10):
            assert client.get(f"/r/{code}").status_code == 307
        eventually(lambda: client.get(f"/links/{code}").json()["clicks"] == 10, within_s=20)
        eventually(lambda: client.get("/workers").json()["complete"], within_s=20)
        assert client.delete(f"/links/{code}").status_code == 204
        assert client.get(f"/r/{code}").status_code == 404
    assert "permissions" not in service.log()
