"""What the parent, the platform or systemd hands over changes nothing, or is used as its documentation says."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from local.process import free_port, spawn
from tests.brigade.cli.conftest import Run
from tests.conftest import ROOT, StartService
from tests.running import RunningService

Begin = Callable[..., RunningService]


@pytest.fixture
def begin(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[Begin]:
    """`python -m service run` by way of a shell's words before it, with whatever descriptors and signals a test leaves."""
    started: list[RunningService] = []

    def begin(before: str = "", preexec_fn: Callable[[], None] | None = None, **more: object) -> RunningService:
        env = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "PORT": free_port(), "WEB_CONCURRENCY": 1} | more
        variables = {name: str(value) for name, value in env.items() if value is not None}
        log = tmp_path / "log"
        with log.open("wb") as output:
            process = spawn(
                ["sh", "-c", f"{before} exec {sys.executable} -m service run {more.get('REDIRECT', '')}"],
                env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), **variables},
                cwd=tmp_path,
                stdout=output,
                stderr=output,
                preexec_fn=preexec_fn,
                pass_fds=[3] if "LISTEN_FDS" in before else [],
            )
        started.append(RunningService(process, port=int(variables["PORT"]), log=log))
        return started[-1]

    yield begin
    for service in started:
        service.stop(within_s=10)


@pytest.mark.parametrize(("given", "workers"), [("2.0", 2), (" 2 ", 2), ("+1", 1)])
def test_number_of_workers_may_be_written_as_the_settings_take_it(
    given: str, workers: int, start_service: StartService
) -> None:
    service = start_service(WEB_CONCURRENCY=given)
    assert len(service.worker_pids()) == workers


def test_empty_variables_are_none(start_service: StartService) -> None:
    names = ["WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS", "TRUSTED_PROXIES", "GUNICORN_CMD_ARGS", "OPS_PORT"]
    empty: dict[str, Any] = dict.fromkeys([*names, "LISTEN_FDS", "LISTEN_PID", "GUNICORN_FD", "HOST"], "")
    assert start_service(**empty).worker_pids()


def test_variables_of_gunicorn_and_uvicorn_do_not_overrule_the_plan(start_service: StartService) -> None:
    service = start_service(
        workers=2,
        GUNICORN_CMD_ARGS="--workers 1 --preload --timeout 5 --bind 127.0.0.1:1",
        GUNICORN_PID="1",
        GUNICORN_FD="9",
        LISTEN_FDS="1",
        LISTEN_PID="1",
        UVICORN_PORT="1",
        UVICORN_WORKERS="7",
        SENDFILE="nonsense",
        OTEL_PROPAGATORS="xray, tracecontext",
        OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="many",
        OTEL_PYTHON_TRACER_PROVIDER="nonsense",
        prometheus_multiproc_dir="/nowhere",
        FORWARDED_ALLOW_IPS="nonsense",
        TRUSTED_PROXIES="10.0.0.0/8, ",
    )
    assert len(service.worker_pids()) == 2
    assert "GUNICORN_CMD_ARGS is left out" in service.log()
    assert "OTEL_PROPAGATORS is read as tracecontext" in service.log()
    assert "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT is left out" in service.log()
    assert "OTEL_PYTHON_TRACER_PROVIDER is left out" in service.log()
    assert "Traceback" not in service.log()


@pytest.mark.skipif(os.geteuid() == 0 and not shutil.which("setpriv"), reason="root can enter every folder")
def test_home_that_this_user_cannot_enter_is_none(database_url: str, tmp_path: Path) -> None:
    """`sudo -E` and ProtectHome= of systemd leave such a home. The client of Postgres looks for certificates there."""
    (tmp_path / "home").mkdir(mode=0)
    ordinary = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*ordinary, sys.executable, "-m", "service", "migrate", "--check"],
        env=env | {"DATABASE_URL": database_url.partition("?")[0]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Permission denied" not in done.stderr
    assert done.returncode == 0, done.stdout


def test_variables_that_no_connection_with_tls_survives_are_left_out(
    run: Run, database_url: str, tmp_path: Path
) -> None:
    """Keys for Wireshark belong to the user that `sudo -E` came from; Compose hands on variables that are not set."""
    url = database_url.partition("?")[0]
    others = {"SSLKEYLOGFILE": tmp_path / "none" / "keys", "PGSSLMODE": "", "PGTARGETSESSIONATTRS": ""}
    done = run("migrate", "--check", DATABASE_URL=url, **others)
    assert done.stdout == "The schema is up to date.\n"
    assert done.stderr == "service: SSLKEYLOGFILE is left out, as it cannot be written (No such file or directory).\n"


@contextmanager
def descriptor_three(address: tuple[str, int]) -> Iterator[int]:
    """A listening socket where systemd puts the first of those that it hands over."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.create_server(address, family=family) as listener:
        try:
            kept = os.dup(3)
        except OSError:
            kept = -1
        os.dup2(listener.fileno(), 3, inheritable=True)
        try:
            yield listener.getsockname()[1]
        finally:
            if kept >= 0:
                os.dup2(kept, 3, inheritable=False)
                os.close(kept)
            else:
                os.close(3)


ACTIVATED = "LISTEN_PID=$$ LISTEN_FDS=1"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_socket_of_systemd_is_served(host: str, begin: Begin) -> None:
    with descriptor_three((host, free_port())) as port:
        service = begin(ACTIVATED, PORT=port, HOST=host)
    place = f"[{host}]" if ":" in host else host
    with httpx.Client(base_url=f"http://{place}:{port}") as client:
        assert client.get("/livez", timeout=20).status_code == 200  # it waits in the backlog until a worker is there
    os.kill(service.pid, signal.SIGHUP)
    with httpx.Client(base_url=f"http://{place}:{port}") as client:
        assert client.get("/livez").status_code == 200


def test_socket_that_systemd_does_not_hand_over_is_asked_for(begin: Begin) -> None:
    ops_port = free_port()
    with descriptor_three(("127.0.0.1", free_port())) as port:
        service = begin(ACTIVATED, PORT=port, OPS_PORT=ops_port)
    assert service.wait() == 2
    assert f"OPS_PORT is {ops_port}" in service.log()


def test_port_for_operators_that_is_taken_is_refused(begin: Begin) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        service = begin(OPS_PORT=port)
        assert service.wait() == 2
    assert f"Port {port}" in service.log()
    assert "set OPS_PORT to another" in service.log()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="only root makes such a first process")
def test_first_process_of_a_container_is_stopped_while_it_waits() -> None:
    """The kernel gives it no signal for which it has no handler."""
    first = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-m", "service", "migrate"]
    variables = os.environ | {"DATABASE_URL": "postgresql://127.0.0.1:1/none"}
    with subprocess.Popen(first, cwd=ROOT, env=variables, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        assert process.stderr.readline().startswith("waiting for Postgres")
        (command,) = psutil.Process(process.pid).children()
        command.terminate()
        assert process.stderr.read() == ""
    assert process.returncode == 128 + signal.SIGTERM


def _block_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGINT])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)


def test_signals_of_a_deaf_parent_are_heard(begin: Begin) -> None:
    service = begin(preexec_fn=_block_signals)
    service.wait_ready()
    (old,) = service.worker_pids()
    os.kill(service.pid, signal.SIGHUP)
    while old in service.worker_pids():
        assert httpx.get(f"{service.url}/livez").is_success
    assert service.stop() == 0


@pytest.mark.parametrize("closed", ["<&-", "<&- >&-", "<&- >&- 2>&-"])
def test_closed_standard_descriptors_become_no_sockets(closed: str, begin: Begin) -> None:
    service = begin(REDIRECT=closed)
    service.wait_ready()
    for pid in (service.pid, *service.worker_pids()):
        for descriptor in (0, 1, 2):
            assert "socket" not in str(Path(f"/proc/{pid}/fd/{descriptor}").readlink())
    assert service.stop() == 0


@pytest.mark.parametrize("umask", ["0777", "0000"])
def test_files_are_made_for_this_user_whatever_the_umask(umask: str, begin: Begin, tmp_path: Path) -> None:
    service = begin(f"umask {umask};")
    service.wait_ready()
    assert httpx.get(f"{service.url}/metrics").is_success
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / ".local").rglob("*") if path.is_dir()}
    assert modes <= {0o755, 0o700}


def test_half_edited_dotenv_reaches_no_worker_before_a_reload(begin: Begin, tmp_path: Path) -> None:
    dotenv = tmp_path / ".env"
    dotenv.write_text("EXPOSE_WORKER=1\n")
    service = begin()
    service.wait_ready()

    def names_worker() -> bool:
        return "x-worker" in httpx.get(f"{service.url}/livez").headers

    def replaced(old: int) -> bool:
        return service.worker_pids() not in ([], [old])

    assert names_worker()
    (old,) = service.worker_pids()
    dotenv.write_text("EXPOSE_WORKER=0\nMAX_IN_FLIGHT=no")
    os.kill(old, signal.SIGKILL)
    while not replaced(old):
        assert psutil.pid_exists(service.pid)
    service.wait_ready()
    assert names_worker()
    dotenv.write_text("EXPOSE_WORKER=0\n")
    os.kill(service.pid, signal.SIGHUP)
    while names_worker():
        assert psutil.pid_exists(service.pid)


@pytest.mark.parametrize("host", ["::", "0.0.0.0", "127.0.0.1\r", "::1"])
def test_health_check_asks_where_the_service_listens(host: str, begin: Begin) -> None:
    service = begin(HOST=host)
    check = [sys.executable, "-IS", str(ROOT / "deploy" / "healthcheck.py"), "/livez"]
    environment = {"HOST": host, "PORT": str(service.port)}
    while subprocess.run(check, env=environment, capture_output=True, check=False).returncode:
        assert service.running, service.log()


def test_proxy_by_ipv4_is_believed_on_a_listener_of_both_versions(begin: Begin) -> None:
    service = begin(HOST="::", TRUSTED_PROXIES="127.0.0.0/8")
    service.wait_ready()
    proxy = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9, 127.0.0.7", "Host": "s.example"}
    answer = httpx.get(f"{service.url}/links/?limit=1", headers=proxy)
    assert answer.headers["location"].startswith("https://s.example/")
    httpx.get(f"{service.url}/nowhere", headers=proxy)
    assert service.stop() == 0
    assert "203.0.113.9" in service.log()
