"""One measuring window: what is asked of which service for how long, and what came of it. Plain data, it measures nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Load:
    """`users` ask for `path`, each as soon as it has its answer: a closed loop, so that `users` is what is under way."""

    path: str
    users: int
    placed: bool = False
    """Open equally many connections to each worker, so that the window does not measure how they spread."""
    fresh: bool = False
    """A new connection for every request."""
    hold: bool = False
    """Ask once before the window, stay connected and silent, and ask again at its end."""
    arrivals: float = 0.0
    """Requests a second that arrive whether or not earlier ones were answered: an open loop, without users."""
    poisson: bool = False
    """They arrive at random moments, as strangers do, and not at equal distances."""
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: str = ""


@dataclass(frozen=True)
class Window:
    name: str
    seconds: float
    workers: int = 1
    load: Load | None = None
    ping: bool = False
    """Ask /livez 200 times a second meanwhile, from a process of its own."""
    outage_ms: int = 0
    """Milliseconds for which one request blocks the event loop in the middle of the window."""
    memory: bool = False
    spin: int = 0
    """Not the service at all: so many processes that only compute, to see what the machine itself gives."""


@dataclass(frozen=True)
class Use:
    """Shares of a window that a generator process computed, and that it wanted to and had no core."""

    cpu: float = 0
    starved: float = 0


@dataclass(frozen=True)
class Percentiles:
    p50: float = 0
    p99: float = 0
    max: float = 0
    mean: float = 0


@dataclass(frozen=True)
class Sample:
    window: str
    workers: int
    seconds: float
    done: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    latency_ms: Percentiles = Percentiles()
    ping_ms: Percentiles = Percentiles()
    by_worker: dict[str, int] = field(default_factory=dict)
    connected: int = 0
    memory_mb: float = 0
    generator: Use = Use()
    foreign_cores: float = 0
    """Cores that other programs used."""
    starved_cores: float = 0
    """Cores that all of our own processes waited for."""

    @property
    def per_second(self) -> float:
        return self.done / self.seconds


@dataclass
class Tally:
    """Counts of one generator process between `begin` and `end`."""

    statuses: Counter[str] = field(default_factory=Counter)
    by_worker: Counter[str] = field(default_factory=Counter)
    latencies_ms: list[float] = field(default_factory=list)
    connected: int = 0
    use: Use = Use()


def percentiles(values_ms: Sequence[float]) -> Percentiles:
    ordered = sorted(values_ms) or [0.0]
    at = [ordered[min(len(ordered) - 1, len(ordered) * share // 100)] for share in (50, 99, 100)]
    return Percentiles(*(round(value, 3) for value in (*at, sum(ordered) / len(ordered))))
