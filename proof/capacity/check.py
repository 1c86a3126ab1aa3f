"""The simulation beside the real thing: a service with one worker and with two, on this machine, each under two loads.

What goes into the simulation is CPU time, from the kernel's own accounts: what each process was charged for a redirect under
this load (fewer of them share a trip to Redis where fewer users ask), what a job of the lane takes that is alone, what a core
does while all are busy, and what other programs took. Requests a second and latencies do not go in.
"""

import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from statistics import median

from local.process import LocalError
from proof.bench.client import Result
from proof.bench.deployment import Backends, Deployment, backends, deployment
from proof.bench.generator import saturate
from proof.capacity.simulation import Outcome, Scene, Work, simulate
from proof.prove.bench import generators
from proof.prove.generate import run_spin
from proof.prove.machine import cpu_seconds, describe

JOB_MS = 20
JOB = f"/lab/cpu/in-lane?ms={JOB_MS}"
USERS = (16, 64)
JOB_USERS = 4
"""Users for each worker, which is enough to keep its lane busy."""
SIMULATED_S = 0.2
"""Seconds of redirects to simulate, which is thousands of them. Jobs are fewer, so they run as long as measured."""

SPINS, SPIN_S = 3, 0.3
CALM_CORES = 0.1
"""Others may use so much of the machine without another try."""

Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    result: Result
    worker_s: float
    backend_s: float
    generator_s: float
    machine_s: float

    @property
    def others_cores(self) -> float:
        """Cores that other programs used."""
        return max(0.0, self.machine_s - self.worker_s - self.backend_s - self.generator_s) / self.result.seconds

    def a_request_ms(self, cpu_s: float) -> float:
        return 1000 * cpu_s / self.result.requests


@dataclass(frozen=True)
class Row:
    """One load on one deployment."""

    load: str
    scene: Scene
    measured: Measured
    simulated: Outcome

    @property
    def error(self) -> float:
        """Relative error of the requests a second."""
        return self.simulated.per_second / self.measured.result.rps - 1

    @property
    def error_ms(self) -> float:
        """Relative error of the median latency."""
        return self.simulated.p50_ms / self.measured.result.p50_ms - 1


@dataclass(frozen=True)
class Bench:
    """Measures, and again while other programs use the machine; the calmest counts."""

    servers: Backends
    seconds: int
    tries: int

    def measure(self, server: Deployment, paths: list[str], users: int) -> Measured:
        saturate(server.url, paths, connections=users, seconds=1)  # pools and caches
        found: list[Measured] = []
        while len(found) < self.tries and not (found and found[-1].others_cores < CALM_CORES):
            found.append(self._measure_once(server, paths, users))
        return min(found, key=lambda measured: measured.others_cores)

    def _measure_once(self, server: Deployment, paths: list[str], users: int) -> Measured:
        before = server.cpu_s(), self.servers.cpu_s(), _own_cpu_s(), cpu_seconds().busy
        result = saturate(server.url, paths, connections=users, seconds=self.seconds)
        after = server.cpu_s(), self.servers.cpu_s(), _own_cpu_s(), cpu_seconds().busy
        if result.errors or not result.requests:
            raise LocalError(f"{result.errors} errors in {result.requests} requests of {paths[0]}: nothing to compare.")
        return Measured(result, *(now - then for now, then in zip(after, before, strict=True)))


def check(*, seconds: int, tries: int, say: Say) -> Iterator[Row]:
    cores = describe().cores
    say("what a core does while the others are busy")
    with generators(cores) as processes:
        crowded = _crowded(processes, cores)
    with (
        backends() as servers,
        deployment("ours", servers, workers=1, LAB_ENABLED="1") as one,
        deployment("ours", servers, workers=2, LAB_ENABLED="1") as two,
    ):
        bench = Bench(servers, seconds, tries)
        say("what a job costs")
        alone = bench.measure(one, [JOB], 1)  # no job waits for another; all but a little of it is in the lane
        job = Work(alone.a_request_ms(alone.generator_s), 0.0, 0.0, lane_ms=alone.a_request_ms(alone.worker_s))
        for server, workers in ((one, 1), (two, 2)):
            for users in USERS:
                say(f"redirects, {workers} workers, {users} users")
                found = bench.measure(server, [f"/r/{code}" for code in server.codes], users)
                redirect = Work(*map(found.a_request_ms, (found.generator_s, found.worker_s, found.backend_s)))
                scene = Scene(workers, users, cores, crowded, found.others_cores, seconds=SIMULATED_S)
                yield Row("redirect", scene, found, simulate(scene, redirect))
        for server, workers in ((one, 1), (two, 2)):
            say(f"CPU jobs, {workers} workers")
            found = bench.measure(server, [JOB], JOB_USERS * workers)
            scene = Scene(workers, JOB_USERS * workers, cores, crowded, found.others_cores, seconds=10)
            yield Row(f"CPU job of {JOB_MS} ms", scene, found, simulate(scene, job))


def _own_cpu_s() -> float:
    """Return the CPU time of the generator: this process, or the children it has waited for."""
    uses = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def _crowded(processes: ProcessPoolExecutor, cores: int) -> float:
    """The work that a core does in a second of CPU time while all of them compute, of what it does alone."""
    ratios = []
    for _ in range(SPINS):
        speeds = []
        for count in (1, cores):
            begin = time.monotonic() + 0.1
            spins = [processes.submit(_spin, begin) for _ in range(count)]
            speeds.append(sum(spin.result() for spin in spins) / count)
        ratios.append(speeds[1] / speeds[0])
    return min(1.0, median(ratios))


def _spin(begin: float) -> float:
    """Return the rounds of plain Python in a second of CPU time, which others on the core do not change."""
    begin = max(begin, time.monotonic())  # a process that comes late spins as long as the others
    before = time.process_time()
    rounds = run_spin(begin, begin + SPIN_S)
    return rounds / (time.process_time() - before)
