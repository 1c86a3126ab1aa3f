"""The figures of one kind of window of a route, over its rounds. Plain data with arithmetic; it judges nothing."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median

from proof.prove.route.cpu import CpuUse
from proof.prove.route.probe import Seen
from proof.prove.window import Sample

BUSY_CORES, RAN_CORES = 0.6, 0.25


@dataclass
class Measured:
    users: int
    workers: int
    seen: Seen
    samples: list[Sample] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(sample.seconds for sample in self.samples)

    @property
    def done(self) -> int:
        return sum(sample.done for sample in self.samples)

    @property
    def rates(self) -> list[float]:
        return [sample.per_second for sample in self.samples]

    @property
    def rate(self) -> float:
        return median(self.rates)

    @property
    def took_ms(self) -> float:
        return _median_of_told(sample.latency_ms.p50 for sample in self.samples)

    @property
    def ping_ms(self) -> float:
        return _median_of_told(sample.ping_ms.p50 for sample in self.samples)

    @property
    def statuses(self) -> Counter[str]:
        total: Counter[str] = Counter()
        for sample in self.samples:
            total.update(sample.statuses)
        return total

    @property
    def starved(self) -> float:
        """Cores that our own processes waited for."""
        return median(sample.starved_cores for sample in self.samples)

    @property
    def keeps_loop_busy(self) -> bool:
        """A loop that waited for a core and hardly ran says something of the machine, not of the route."""
        cpu = self.cpu_cores()
        return cpu.wanted > BUSY_CORES * self.workers and cpu.loop > RAN_CORES * self.workers

    @property
    def idle_share(self) -> float:
        """The share of the time in which nothing of ours computed or waited for a core, at least; 0 where it cannot be seen.

        What takes longer than that share explains did not wait for a core.
        """
        if not self.seen.is_local:
            return 0.0
        cpu = self.cpu_cores()
        asking = median(sample.generator.cpu + sample.generator.starved for sample in self.samples)
        elsewhere = cpu.threads + cpu.threads_starved + cpu.processes + cpu.processes_starved
        return math.prod(max(0.0, 1 - busy) for busy in (cpu.wanted / self.workers, elsewhere / self.workers, asking))

    @property
    def cores_said(self) -> float:
        """Cores that the workers used, by /workers: the last look says it of the second before."""
        return float(sum(worker["cpu_percent"] for worker in self.seen.workers[-self.workers :]) / 100)

    def cpu_cores(self) -> CpuUse:
        return CpuUse().plus(self.seen.cpu, 1 / self.seconds)


def _median_of_told(times_ms: Iterable[float]) -> float:
    """Leave out the windows in which nothing was answered: they say 0, and not how long it took."""
    return median([ms for ms in times_ms if ms] or [0.0])


@dataclass
class Findings:
    quiet: Measured
    """Nobody asks for the route; only the ping runs, and the looks at the service."""
    alone: Measured
    """One user, one request at a time."""
    company: dict[int, Measured]
    """Many users at once, by number of workers."""

    @property
    def first(self) -> Measured:
        return self.company[min(self.company)]

    @property
    def took_ms(self) -> float:
        return self.alone.took_ms

    @property
    def mean_ms(self) -> float:
        """One user asks as soon as it has its answer, so this is the mean time of a request."""
        return self.alone.seconds * 1000 / max(1, self.alone.done)

    @property
    def cpu_ms(self) -> CpuUse:
        """CPU time of one request, less what the service uses without it."""
        if not self.alone.seen.is_local:
            return self._cpu_ms_said()
        more = self.alone.seen.cpu.plus(self.quiet.cpu_cores(), -self.alone.seconds)
        return CpuUse(*(max(0.0, seconds) * 1000 / max(1, self.alone.done) for seconds in more))

    def _cpu_ms_said(self) -> CpuUse:
        """The same of workers on other machines, by what /workers says: which thread it was, only the ping can tell."""
        first = self.first
        spent_ms = max(0.0, first.cores_said - self.quiet.cores_said) * 1000 / max(1e-6, first.rate)
        is_on_loop = first.ping_ms > self.took_ms and not first.seen.share(lambda each: each["cpu_lane"]["running"])
        return CpuUse(loop=spent_ms) if is_on_loop else CpuUse(threads=spent_ms)

    @property
    def at_once(self) -> float:
        """Requests under way at once among many users. Little's law: answers a second times the seconds of each."""
        return self.first.rate * self.took_ms / 1000

    def blocked_share(self, path: str) -> float:
        """The share of the time of one user in which the watchdog saw this route hold the loop."""
        held_ms = sum(each["blocked_ms"] for each in self.alone.seen.incidents if each.get("path") == path)
        return float(held_ms / 1000 / self.alone.seconds)

    def cause(self, path: str) -> str:
        """The reason for which this route held the loop longest, by the watchdog; empty where it did not."""
        held_ms: Counter[str] = Counter()
        for each in self.alone.seen.incidents:
            if each.get("path") == path and each["cause"] != "starved":
                held_ms[each["cause"]] += each["blocked_ms"]
        return held_ms.most_common(1)[0][0] if held_ms else ""

    def statements(self) -> dict[str, float]:
        """Statements of one request, by their text."""
        known = self.alone.seen.statements
        return {text: count / max(1, self.alone.done) for text, count in known.most_common(50)}
