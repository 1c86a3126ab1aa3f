"""`python -m loadtests`: the service, if it does not run yet, and Locust's web UI with a lesson to start."""

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

from loadtests.address import is_ready, service_url
from local.patience import end_family
from local.places import ROOT
from local.process import LocalError, check_port, spawn, terminate
from local.variables import stop_timeout_s

READY_TIMEOUT_S = 120.0
SERVERS_STOP_S = 60.0
"""Seconds for Postgres and Valkey to stop, after the service."""
CORES_A_PROCESS = 4
"""One process of Locust is one core, and most cores are the service's."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=__doc__)
    parser.add_argument("--host", help="put load on this deployment, instead of a service that is started for it")
    parser.add_argument(
        "--web-port",
        type=int,
        default=os.environ.get("LOCUST_PORT") or 8089,
        help="of Locust's web UI, on 127.0.0.1 (LOCUST_PORT, or 8089)",
    )
    given, more = parser.parse_known_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _serve(given.host, given.web_port, more)
    except LocalError as reason:
        sys.exit(f"locust: {reason}")
    except KeyboardInterrupt:
        return 0


def _serve(host: str | None, web_port: int, more: list[str]) -> int:
    if host and not host.startswith(("http://", "https://")):
        raise LocalError(f"--host takes an http:// address, and {host} is none.")
    check_port("127.0.0.1", web_port, setting="LOCUST_PORT")
    ui = f"http://127.0.0.1:{web_port}"
    with ExitStack() as stack:
        url = host or _service(stack)
        web = [
            "--web-host",
            "127.0.0.1",
            "--web-port",
            str(web_port),
            "--loglevel",
            "WARNING",
            "--users",
            "50",
            "--spawn-rate",
            "50",
        ]
        command = [sys.executable, "-m", "locust", "-f", "loadtests/locustfile.py", "--host", url]
        variables = os.environ | {"LOCUST_ADDRESSES": f"{ui} {url}", "LOCUST_STARTED_BY": "" if host else "make locust"}
        locust = spawn([*command, *web, *_processes(more), *more], cwd=ROOT, env=variables)
        stack.callback(terminate, locust, within_s=10)
        _wait_until_ready(locust, ui, "/")
        print("Ctrl-C ends what was started here.\n", flush=True)
        return locust.wait()


def _processes(more: list[str]) -> list[str]:
    """Return the option for as many processes as the machine can spare, unless the caller says how many."""
    count = len(os.sched_getaffinity(0) if sys.platform == "linux" else range(os.cpu_count() or 1)) // CORES_A_PROCESS
    said = any(each.startswith(("--processes", "--master", "--worker")) for each in more)
    return ["--processes", str(count)] if count > 1 and not said else []


def _service(stack: ExitStack) -> str:
    url = service_url()
    if is_ready(url, "/readyz"):
        return url
    service = spawn([sys.executable, "-m", "local", "run"], cwd=ROOT)
    stack.callback(end_family, service, within_s=stop_timeout_s() + SERVERS_STOP_S)
    _wait_until_ready(service, url, "/readyz")
    return url


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, path: str) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not is_ready(url, path):
        if process.poll() is not None:
            raise LocalError("it ended before it was ready: see above.")
        if time.monotonic() > deadline:
            raise LocalError(f"{url}{path} did not answer within {READY_TIMEOUT_S:g} s.")
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
