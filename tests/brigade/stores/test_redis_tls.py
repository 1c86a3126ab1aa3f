"""Redis with TLS, where there is a server that was built with it: a single one, and behind a Sentinel that has TLS too."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from brigade.settings.redis_url import read_redis_url
from brigade.stores.redis_client import open_redis
from brigade.stores.redis_errors import REDIS_FAILURES
from local.process import free_port, terminate
from tests.brigade.stores.test_tls import certificates

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("redis-tls")
    certificates(folder)
    return folder


def _start(folder: Path, *options: str) -> "tuple[int, subprocess.Popen[bytes]]":
    program, port = shutil.which("redis-server"), free_port()
    if program is None:
        pytest.skip("there is no Redis with TLS here: apt-get install redis-server")
    files = ["--tls-cert-file", "server.crt", "--tls-key-file", "server.key", "--tls-ca-cert-file", "ca.crt"]
    tls = ["--port", "0", "--tls-port", str(port), *files, "--tls-auth-clients", "optional", "--tls-replication", "yes"]
    with (folder / f"{port}.log").open("wb") as log:
        return port, subprocess.Popen([program, *options, *tls], cwd=folder, stdout=log, stderr=log)


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[int]:
    port, process = _start(folder, "--save", "", "--requirepass", "secret")
    yield port
    terminate(process)


@pytest.fixture(scope="module")
def sentinel(folder: Path, server: int) -> Iterator[int]:
    configuration = folder / "sentinel.conf"
    lines = ["sentinel resolve-hostnames yes", f"sentinel monitor links localhost {server} 1"]
    configuration.write_text(
        "\n".join([*lines, "sentinel auth-pass links secret", "sentinel announce-hostnames yes", ""])
    )
    port, process = _start(folder, str(configuration), "--sentinel")
    yield port
    terminate(process)


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Any]:
    read_redis_url(url)
    client = open_redis(url, connections=2, timeout_s=5, socket_timeout=5)
    try:
        yield client
    finally:
        await client.aclose()


async def answers(url: str) -> bool:
    """Whether it does, once it has started."""
    for _ in range(200):
        try:
            async with opened(url) as client:
                return bool(await client.ping())
        except REDIS_FAILURES as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                return False
    return False


async def test_single_server_is_verified(folder: Path, server: int) -> None:
    url = f"rediss://:secret@localhost:{server}/0"
    assert await answers(f"{url}?ssl_ca_certs={folder}/ca.crt")
    mine = f"&ssl_certfile={folder}/client.crt&ssl_keyfile={folder}/client.key"
    assert await answers(f"{url}?ssl_ca_certs={folder}/ca.crt{mine}")
    assert await answers(f"{url}?ssl_cert_reqs=none")
    assert not await answers(f"{url}?ssl_ca_certs={folder}/stranger.crt")
    assert not await answers(f"{url.replace('localhost', '127.0.0.1')}?ssl_ca_certs={folder}/ca.crt")


async def test_sentinel_and_its_servers_are_verified(folder: Path, sentinel: int) -> None:
    url = f"rediss+sentinel://:secret@localhost:{sentinel}/links/0"
    assert await answers(f"{url}?ssl_ca_certs={folder}/ca.crt")
    assert not await answers(f"{url}?ssl_ca_certs={folder}/stranger.crt")
