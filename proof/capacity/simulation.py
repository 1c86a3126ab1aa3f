"""The same deployment as a simulation: processes that wait for each other and for the cores of one machine.

A request goes round: its user's generator, the worker, Redis, the worker again. Each of these is a process that does one
thing at a time, in turn, and that needs a core for it. So a second worker helps until the cores are all in use, and that
is what is to be seen. What is measured goes in (CPU time of each for a request); what comes out is held against
measurements that did not go in.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import simpy

from proof.prove.window import percentiles

Process = Generator[simpy.Event, Any, None]

SLICE_MS = 4.0
"""Time after which the kernel gives the core to another process that wants it."""
VARIATION = 0.3
"""Share by which the time for a piece of work varies in both directions."""


@dataclass(frozen=True)
class Work:
    """CPU that a request takes from each process, in milliseconds."""

    generator_ms: float
    worker_ms: float
    backend_ms: float
    lane_ms: float = 0.0
    """CPU time in the worker's lane, which runs beside its loop, one job at a time."""


@dataclass(frozen=True)
class Scene:
    workers: int
    users: int
    """Users, in equal numbers on each worker. Each asks again as soon as it is answered."""
    cores: int
    crowded: float = 1.0
    """Work of a core while all cores are busy, as a share of what it does alone."""
    others_cores: float = 0.0
    """Cores that other programs take."""
    seconds: float = 2.0
    warm_up_s: float = 0.1


@dataclass
class Outcome:
    seconds: float
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.latencies_ms) / self.seconds

    @property
    def p50_ms(self) -> float:
        return percentiles(self.latencies_ms).p50


class Machine:
    """Cores, and the processes that want them. Times are in milliseconds."""

    def __init__(self, scene: Scene) -> None:
        self.env = simpy.Environment()
        self._scene = scene
        self._cores = simpy.Resource(self.env, scene.cores)
        self._random = Random(1)  # noqa: S311 - the same each time is what is wanted

    def process(self) -> simpy.Resource:
        return simpy.Resource(self.env, 1)

    def compute(self, process: simpy.Resource, work_ms: float) -> Process:
        left_ms = work_ms * self._random.uniform(1 - VARIATION, 1 + VARIATION)
        with process.request() as turn:
            yield turn
            while left_ms > 0:
                with self._cores.request() as core:
                    yield core
                    step_ms = min(left_ms, SLICE_MS)
                    speed = self._scene.crowded if self._cores.count == self._scene.cores else 1.0
                    yield self.env.timeout(step_ms / speed)
                left_ms -= step_ms

    def take(self, cores: float) -> Process:
        """Others, who use so many cores on average, a slice at a time."""
        taken_ms = 0.0
        while True:
            if taken_ms < cores * self.env.now:
                with self._cores.request() as core:
                    yield core
                    yield self.env.timeout(SLICE_MS)
                taken_ms += SLICE_MS
            else:
                yield self.env.timeout(1)


@dataclass(frozen=True)
class Stations:
    """The stations that a request passes: the processes, and the lane, which belongs to a worker."""

    generator: simpy.Resource
    loop: simpy.Resource
    lane: simpy.Resource
    backend: simpy.Resource

    def way(self, work: Work) -> tuple[tuple[simpy.Resource, float], ...]:
        stops = (
            (self.generator, work.generator_ms / 2),
            (self.loop, work.worker_ms / 2),
            (self.lane, work.lane_ms),
            (self.backend, work.backend_ms),
            (self.loop, work.worker_ms / 2),
            (self.generator, work.generator_ms / 2),
        )
        return tuple(stop for stop in stops if stop[1])


def simulate(scene: Scene, work: Work) -> Outcome:
    machine, outcome = Machine(scene), Outcome(scene.seconds)
    for _ in range(scene.cores):
        machine.env.process(machine.take(scene.others_cores / scene.cores))
    generator, backend = machine.process(), machine.process()
    for number in range(scene.workers):
        stations = Stations(generator, machine.process(), machine.process(), backend)
        for _ in range(scene.users * (number + 1) // scene.workers - scene.users * number // scene.workers):
            machine.env.process(_user(machine, stations.way(work), outcome, counts_from_ms=scene.warm_up_s * 1000))
    machine.env.run(until=(scene.warm_up_s + scene.seconds) * 1000)
    return outcome


def _user(
    machine: Machine, way: tuple[tuple[simpy.Resource, float], ...], outcome: Outcome, *, counts_from_ms: float
) -> Process:
    while True:
        began_ms = machine.env.now
        for process, work_ms in way:
            yield from machine.compute(process, work_ms)
        if machine.env.now >= counts_from_ms:
            outcome.latencies_ms.append(machine.env.now - began_ms)
