"""A Redis that speaks TLS, where one is installed that was built with it: the Valkey from the wheel was not."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from local.process import LocalError, free_port, spawn, terminate

REDIS = shutil.which("redis-server")
NO_REDIS = "redis-server is not installed (Debian: apt-get install redis-server), so TLS to Redis is not measured."
START_TIMEOUT_S = 20.0


@contextmanager
def redis_over_tls() -> Iterator[str]:
    """Yield the URL of one that lives as long as this, or nothing where none is installed."""
    if REDIS is None:
        yield ""
        return
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        home, port = Path(folder), free_port()
        _sign(home)
        files = ["--tls-cert-file", "redis.crt", "--tls-key-file", "redis.key", "--tls-ca-cert-file", "redis.crt"]
        options = [
            "--port",
            "0",
            "--bind",
            "127.0.0.1",
            "--tls-port",
            str(port),
            "--tls-auth-clients",
            "no",
            "--save",
            "",
        ]
        with (home / "log").open("wb") as log:
            process = spawn([REDIS, *options, *files], cwd=home, stdout=log, stderr=log)
        try:
            _wait(process, port)
            yield f"rediss://localhost:{port}/0?ssl_ca_certs={home}/redis.crt"
        finally:
            terminate(process, within_s=10)


def _sign(home: Path) -> None:
    """Make a certificate for localhost that signs itself."""
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    files = ["-keyout", "redis.key", "-out", "redis.crt"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names, *files]
    subprocess.run(command, cwd=home, check=True, capture_output=True)


def _wait(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise LocalError("redis-server with TLS did not start.")
