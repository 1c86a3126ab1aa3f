"""Postgres with TLS: the server's certificate is verified, and the client's own one logs it in."""

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from brigade.stores.postgres_client import connect
from local.process import NOT_ROOT, free_port
from tests.brigade.cli.conftest import Run

pytestmark = pytest.mark.anyio


def certificates(folder: Path) -> None:
    """An authority, a certificate for localhost, and one for the client `app`; and an authority that signed nothing."""
    for name in ("ca", "stranger"):
        subject = ["-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.crt"]
        _openssl(folder, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject)
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for name, common in (("server", "localhost"), ("client", "app")):
        subject = ["-subj", f"/CN={common}", "-keyout", f"{name}.key", "-out", f"{name}.csr"]
        _openssl(folder, "req", "-newkey", "rsa:2048", "-nodes", *subject)
        signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names"]
        _openssl(folder, "x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.crt", *signed)
    for key in folder.glob("*.key"):
        key.chmod(0o600)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def _programs() -> Path:
    """Of a Postgres that was built with TLS, which the one from the wheel is not."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("there is no Postgres with TLS here: apt-get install postgresql")
    return found[-1].parent


@pytest.fixture(scope="module")
def tls_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Lets the role `app` in by a certificate alone, and `word` by a password, over TLS. Its address and its folder."""
    programs, folder, port = _programs(), tmp_path_factory.mktemp("tls"), free_port()
    certificates(folder)
    user = NOT_ROOT if os.geteuid() == 0 else None
    data = folder / "data"
    data.mkdir(mode=0o700)
    for path in (folder, data, folder / "server.key"):
        shutil.chown(path, user or os.geteuid())
        for above in path.parents:
            if above.stat().st_uid == os.geteuid() and "pytest" in str(above):
                above.chmod(0o755)
    make: list[str | Path] = [programs / "initdb", "-D", data, "-U", "brigade", "-A", "trust", "--no-sync"]
    subprocess.run(make, check=True, capture_output=True, user=user, cwd=folder)
    rules = ["local all all trust", "hostssl all app all cert", "hostssl all word all scram-sha-256"]
    (data / "pg_hba.conf").write_text("\n".join(rules) + "\n")
    files = [
        f"-cssl_{name}_file={folder / path}"
        for name, path in (("cert", "server.crt"), ("key", "server.key"), ("ca", "ca.crt"))
    ]
    options = [
        "-cssl=on",
        *files,
        f"-cport={port}",
        "-clisten_addresses=localhost",
        f"-cunix_socket_directories={data}",
    ]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([programs / "postgres", "-D", data, *options], stdout=log, stderr=log, user=user)
        try:
            ready: list[str | Path] = [
                programs / "psql",
                "-h",
                data,
                "-p",
                str(port),
                "-U",
                "brigade",
                "postgres",
                "-c",
            ]
            roles = "CREATE ROLE app LOGIN SUPERUSER; CREATE ROLE word LOGIN SUPERUSER PASSWORD 'secret'"
            while subprocess.run([*ready, roles], check=False, capture_output=True).returncode:
                assert server.poll() is None, (folder / "log").read_text()
            yield f"localhost:{port}/postgres", folder
        finally:
            server.terminate()
            server.wait()


async def test_server_is_verified_and_client_shows_its_certificate(tls_postgres: tuple[str, Path]) -> None:
    place, folder = tls_postgres
    verified = f"sslmode=verify-full&sslrootcert={folder}/ca.crt"
    mine = f"sslcert={folder}/client.crt&sslkey={folder}/client.key"
    for url in (f"postgresql://app@{place}?{verified}&{mine}", f"postgresql://word:secret@{place}?{verified}"):
        connection = await connect(url, timeout=10)
        assert await connection.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
        await connection.close()


async def test_server_of_another_authority_or_name_is_not_spoken_to(tls_postgres: tuple[str, Path]) -> None:
    place, folder = tls_postgres
    for host, authority in (("localhost", "stranger"), ("127.0.0.1", "ca")):
        url = f"postgresql://word:secret@{place.replace('localhost', host)}?sslmode=verify-full"
        with pytest.raises(ssl.SSLCertVerificationError):
            await connect(f"{url}&sslrootcert={folder}/{authority}.crt", timeout=10)


def test_certificate_that_is_not_there_is_named(run: Run, tls_postgres: tuple[str, Path]) -> None:
    place, _ = tls_postgres
    url = f"postgresql://word:secret@{place}?sslmode=verify-full&sslrootcert=/nowhere.crt"
    done = run("migrate", DATABASE_URL=url)
    assert done.returncode == 2
    assert "/nowhere.crt" in done.stderr
    assert done.stderr.count("\n") == 1


def test_service_migrates_and_is_examined_over_tls(run: Run, tls_postgres: tuple[str, Path]) -> None:
    place, folder = tls_postgres
    url = f"postgresql://word:secret@{place}?sslmode=verify-full&sslrootcert={folder}/ca.crt"
    assert run("migrate", DATABASE_URL=url).returncode == 0
    assert run("migrate", "--check", DATABASE_URL=url).returncode == 0
