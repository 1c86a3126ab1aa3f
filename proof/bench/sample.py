"""One measurement of one server under one load, and the series of them that the rounds make."""

from dataclasses import dataclass, field
from statistics import median

from proof.bench.client import Result
from proof.bench.deployment import Backends, Deployment
from proof.bench.generator import saturate


@dataclass(frozen=True)
class Sample:
    requests_per_s: float
    cpu_us: float
    """CPU time of the server's processes for one request."""
    backends_us: float
    p50_ms: float
    p99_ms: float
    errors: int


@dataclass
class Series:
    samples: list[Sample] = field(default_factory=list)

    def of(self, name: str) -> list[float]:
        return [getattr(sample, name) for sample in self.samples]

    def median(self, name: str) -> float:
        return median(self.of(name))

    def spread(self, name: str) -> tuple[float, float]:
        return min(self.of(name)), max(self.of(name))


def measure(server: Deployment, backends: Backends, paths: list[str], *, connections: int, seconds: int) -> Sample:
    before, before_backends = server.cpu_s(), backends.cpu_s()
    result = saturate(server.url, paths, connections=connections, seconds=seconds, headers=server.headers)
    spent, spent_backends = server.cpu_s() - before, backends.cpu_s() - before_backends
    return as_sample(result, spent, spent_backends)


def as_sample(result: Result, cpu_s: float, backends_s: float) -> Sample:
    each = 1e6 / max(1, result.requests)
    return Sample(result.rps, cpu_s * each, backends_s * each, result.p50_ms, result.p99_ms, result.errors)
