"""`python -m loadtests`: the service, if it does not run yet, and Locust's web UI with every scenario to choose from."""

import argparse
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from local.places import ROOT
from local.process import LocalError, check_port, spawn, terminate
from local.variables import address

READY_TIMEOUT_S = 120.0
STOP_TIMEOUT_S = 300.0
"""Seconds for requests in progress. The service itself keeps to GRACEFUL_TIMEOUT_S."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m loadtests", description=__doc__)
    parser.add_argument("--host", help="put load on this deployment, instead of a service that is started for it")
    parser.add_argument("--web-port", type=int, default=8089, help="of Locust's web UI, on 127.0.0.1 (8089)")
    given, more = parser.parse_known_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return _serve(given.host, given.web_port, more)
    except LocalError as reason:
        sys.exit(f"locust: {reason}")
    except KeyboardInterrupt:
        return 0


def _serve(host: str | None, web_port: int, more: list[str]) -> int:
    check_port("127.0.0.1", web_port)
    with ExitStack() as stack:
        url = host or _service(stack)
        web = ["--web-host", "127.0.0.1", "--web-port", str(web_port)]
        scenarios = ["-f", str(Path("loadtests") / "scenarios"), "--class-picker"]
        users = ["--users", "50", "--spawn-rate", "10", "--loglevel", "WARNING"]
        locust = spawn([sys.executable, "-m", "locust", *scenarios, "--host", url, *web, *users, *more], cwd=ROOT)
        stack.callback(terminate, locust, within_s=10)
        ui = f"http://127.0.0.1:{web_port}"
        _wait_until_ready(locust, ui, "/")
        _say(f'\nLocust   {ui}   choose one scenario, start it, and open the tab "Workers"')
        _say(f"Service  {url}   its live page is {url}/lab\nCtrl-C ends what was started here.\n")
        return locust.wait()


def _service(stack: ExitStack) -> str:
    host, port = address()
    url = f"http://{host}:{port}"
    if is_ready(url):
        return url
    service = spawn([sys.executable, "-m", "local", "run"], cwd=ROOT)
    stack.callback(terminate, service, within_s=STOP_TIMEOUT_S)
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


def _say(text: str) -> None:
    print(text, flush=True)


def is_ready(url: str, path: str = "/readyz") -> bool:
    try:
        with urllib.request.urlopen(f"{url}{path}", timeout=2):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    sys.exit(main())
