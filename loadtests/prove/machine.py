"""What the machine gave while a window was measured: to us, to other programs, to nobody."""

import json
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

import psutil

from loadtests.prove.stage import ROOT


@dataclass(frozen=True)
class Machine:
    cores: int
    """That we may use."""
    system: str
    python: str


class CpuSeconds(NamedTuple):
    """Since whenever; a difference of two of these is what happened between them."""

    ours: float
    busy: float
    idle: float


def describe() -> Machine:
    return Machine(_cores(), f"{platform.system()} {platform.release()}", platform.python_version())


def _cores() -> int:
    """As the service itself counts them: the affinity, and the limit of the container."""
    sizing = [sys.executable, "-m", "service", "sizing", "--json"]
    said = subprocess.run(sizing, cwd=ROOT, capture_output=True, check=True).stdout
    return max(1, int(json.loads(said)["cpus"]["value"]))


def cpu_seconds() -> CpuSeconds:
    """Ours are this process and all that it started: generators, services, servers."""
    me = psutil.Process()
    ours = 0.0
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            ours += times.user + times.system
    machine = psutil.cpu_times()
    idle = machine.idle + getattr(machine, "iowait", 0.0)
    # The guests' time is in the user's already.
    busy = sum(machine) - idle - getattr(machine, "guest", 0.0) - getattr(machine, "guest_nice", 0.0)
    return CpuSeconds(ours, busy, idle)
