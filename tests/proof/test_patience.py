"""Commands end, whatever the service does, name what they waited for, and leave nothing running."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest

from local.patience import end_family
from local.process import spawn
from tests.proof.conftest import ROOT

WINDOW = """
import asyncio, sys, uvloop
from local.patience import Patience
from local.process import LocalError, spawn
from proof.prove.bench import Bench, generators
from proof.prove.stage import Deployment
from proof.prove.window import Load, Window

URL = sys.argv[1]

class Frozen(Deployment):
    def __init__(self) -> None:
        self._url = URL

def window(load):
    with generators(2) as processes:
        patience.step("The window", 3)
        Bench(Frozen(), processes).measure(Window("w", 0.1, load=load, spin=1))  # a spin, so that nobody waits for calm

async def wait():
    await asyncio.Event().wait()

kinds = {
    "placed": lambda: window(Load("/livez", 4, placed=True)),
    "held": lambda: window(Load("/livez", 4, hold=True)),
    "loop": lambda: (patience.step("The window", 3), uvloop.run(wait())),
}
try:
    with Patience("The start", 60) as patience:
        spawn([sys.executable, "-c", "import time; time.sleep(600)", URL])
        kinds[sys.argv[2]]()
except LocalError as reason:
    sys.exit(f"proved nothing: {reason}")
"""


@contextmanager
def nobody_answers() -> Iterator[str]:
    """A service that is frozen for good: the kernel accepts connections, and nothing reads them."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        yield f"http://127.0.0.1:{frozen.getsockname()[1]}"


@pytest.mark.parametrize("kind", ["placed", "held", "loop"])
def test_a_step_ends_though_the_service_never_answers(kind: str) -> None:
    with nobody_answers() as url:
        command = [sys.executable, "-c", WINDOW, url, kind]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=40, check=False)
    assert (done.returncode, done.stderr) == (1, "proved nothing: The window did not end within 3 s.\n")
    assert _left(url) == []


def _left(mark: str) -> list[str]:
    """The processes that have this in their command and still run."""
    found = psutil.process_iter(["cmdline", "status"])
    return [
        each.info["cmdline"]
        for each in found
        if mark in (each.info["cmdline"] or []) and each.info["status"] != "zombie"
    ]


def test_a_frozen_service_is_not_left_behind_by_who_started_it() -> None:
    mark = f"frozen-{time.monotonic_ns()}"
    sleeper = f"import time; time.sleep(600)  # {mark}"
    start = f"spawn([sys.executable, '-c', {sleeper!r}, {mark!r}])"
    parent = f"import sys, time\nfrom local.process import spawn\n{start}\nprint(flush=True)\ntime.sleep(600)"
    process = spawn([sys.executable, "-c", parent], cwd=ROOT, stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.readline()
    for each in psutil.Process(process.pid).children(recursive=True):
        each.send_signal(signal.SIGSTOP)
    end_family(process, within_s=2)
    process.stdout.close()
    assert _left(mark) == []
