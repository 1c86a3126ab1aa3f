"""The line on top: a sentence or two about this second."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.workers import Worker


@dataclass(frozen=True)
class Second:
    """One second of a run, as measured."""

    stage: str
    workers: Sequence[Worker]
    rate: float
    failed: float
    """The share of the last answers, 0 to 1."""
    arrivals: float
    """A second, of a scenario whose users do not wait for their answers; else 0."""
    p99_ms: float | None
    """Milliseconds that 1 % of the last answers took or more; arrivals count from the moment at which each was due."""
    ping_ms: float | None


def line(second: Second) -> str:
    parts = [f"{second.stage}.", f"{_service(second)}; {_ping(second)}."]
    if second.arrivals:
        tail = f"; 1 % of them take {duration(second.p99_ms)} or more from when they were due" if second.p99_ms else ""
        parts.append(f"{second.arrivals:.0f} requests a second arrive, whatever becomes of the earlier ones{tail}.")
    if second.failed > 0.05:
        parts.append(
            f"{second.failed:.0%} of the answers are failures: see the tab Failures, and whether LAB_ENABLED is on."
        )
    return " ".join(parts)


def over(workers: int | None, command: str) -> str:
    """Return the line of a run that is over: how to get the other half of the comparison."""
    other = 2 if workers == 1 else 1
    example = f", for example by `Ctrl-C` and `WEB_CONCURRENCY={other} {command}`," if command else ""
    return (
        f"The run is over, and what is left of it is below. Start the service with another WEB_CONCURRENCY{example} "
        "and press Start: the rows of both runs stand together."
    )


def duration(ms: float) -> str:
    if ms < 10:
        return f"{ms:.1f} ms"
    return f"{ms:,.0f} ms" if ms < 10_000 else f"{ms / 1000:.0f} s"


def seconds(ms: float) -> str:
    return f"{ms / 1000:.1f} s"


def state_words(worker: Worker) -> str:
    """Return the words of the table: the state, and for how long."""
    if worker.state == "held":
        return f"was frozen for {seconds(worker.for_ms)}"
    if worker.state == "unanswering":
        return f"no answer for {seconds(worker.for_ms)}"
    if worker.state in {"frozen", "silent"}:
        return f"{worker.state} for {seconds(worker.for_ms)}"
    return worker.state if worker.lives else f"{worker.state}, {seconds(worker.for_ms)} ago"


def _service(second: Second) -> str:
    living = [worker for worker in second.workers if worker.lives]
    noted = [_noted(worker) for worker in second.workers]
    if not living and not any(noted):
        return "No worker of the service has answered yet"
    if living and all(worker.state == "unanswering" for worker in living):
        return f"No worker has answered for {seconds(living[0].for_ms)}"
    if told := [words for words in noted if words]:
        return ". ".join(told)
    return _serving(living, second)


def _noted(worker: Worker) -> str:
    """Return the words for a worker that does anything else than serve."""
    name = f"Worker {worker.number}"
    stuck = f"{name} has {_requests(worker.in_flight)} waiting and" if worker.in_flight else name
    words = {
        "frozen": f"{stuck} has been frozen for {seconds(worker.for_ms)}",
        "held": f"{stuck} was frozen for {seconds(worker.for_ms)}",
        "silent": f"{name} has been silent for {seconds(worker.for_ms)}: its process is stopped",
        "unanswering": f"{name} has not answered for {seconds(worker.for_ms)}",
        "draining": f"{name} is draining: it finishes {_requests(worker.in_flight)} and leaves",
        "starting": f"{name} is starting",
        "dead": f"{name} died {seconds(worker.for_ms)} ago",
    }
    return words.get(worker.state, "")


def _serving(living: Sequence[Worker], second: Second) -> str:
    in_flight = [worker.in_flight for worker in living]
    cpu = [worker.told["cpu_percent"] for worker in living]
    lag = max(worker.told["loop_lag_ms"]["last_second"] for worker in living)
    if len(living) == 1:
        has = f"Worker {living[0].number} has {_requests(in_flight[0])} in flight at once and uses {cpu[0]:.0f} % of a core"
    else:
        has = (
            f"{len(living)} workers have {_and(in_flight)} requests in flight at once and use "
            f"{_and([round(each) for each in cpu])} % of a core"
        )
    if streams := sum(worker.told.get("streams", 0) for worker in living):
        has = f"{has}; {streams:,} streams are held"
    return f"{has}; {second.rate:,.0f} answers a second; the event loop is up to {duration(lag)} late"


def _ping(second: Second) -> str:
    return "no ping has been answered yet" if second.ping_ms is None else f"a ping takes {duration(second.ping_ms)}"


def _requests(count: int) -> str:
    return f"{count:,} request{'' if count == 1 else 's'}"


def _and(numbers: Sequence[int]) -> str:
    if len(numbers) > 4:
        return f"{min(numbers)} to {max(numbers)}"
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}"


def as_link(url: str) -> str:
    """Return a URL that a browser can open. Compose makes one of HOST and PORT, and HOST may be `::` or every address."""
    scheme, _, rest = url.partition("://")
    host, _, port = rest.rpartition(":")
    if not (host and port.isdecimal()):
        return url
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host.strip("[]"))
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
