"""The CPU time of the machine while a window was measured: ours, other programs', and idle."""

import json
import platform
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import psutil

from proof.prove.own_service import ROOT


@dataclass(frozen=True)
class Machine:
    cores: int
    """Cores that we may use."""
    system: str
    python: str


class CpuSeconds(NamedTuple):
    """Since whenever; a difference of two of these is what happened between them."""

    ours: float
    starved: float
    """Share of the time in which our processes could run and had no core."""
    busy: float
    """Busy share of the whole machine."""


def describe() -> Machine:
    return Machine(_cores(), f"{platform.system()} {platform.release()}", platform.python_version())


def _cores() -> int:
    """Count the cores as the service does: by affinity, and by the limit of the container."""
    sizing = [sys.executable, "-m", "service", "sizing", "--json"]
    said = subprocess.run(sizing, cwd=ROOT, capture_output=True, check=True).stdout
    return max(1, int(json.loads(said)["cpus"]["value"]))


def cpu_seconds() -> CpuSeconds:
    """Ours are this process and all that it started: generators, services, servers."""
    me = psutil.Process()
    ours = starved = 0.0
    for process in (me, *me.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            times = process.cpu_times()
            ours += times.user + times.system
            starved += _starved_s(process.pid)
    machine = psutil.cpu_times()
    # A guest's time is in the user's already.
    unused = ("idle", "iowait", "guest", "guest_nice")
    return CpuSeconds(ours, starved, sum(machine) - sum(getattr(machine, name, 0.0) for name in unused))


def _starved_s(pid: int) -> float:
    """Return the seconds that its threads waited for a core, or 0 if the kernel does not say."""
    waits_ns = (int(path.read_text().split()[1]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat"))
    return sum(waits_ns) / 1e9
