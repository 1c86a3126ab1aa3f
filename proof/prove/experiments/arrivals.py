"""One and the same outage, seen by users who wait for their answers and by arrivals that do not."""

from proof.prove.claims import Claim, at_least, figure, ratios
from proof.prove.evidence import Evidence, Results, rates
from proof.prove.experiment import Experiment, Scope
from proof.prove.window import Load, Window

PATH = "/lab/sleep/awaited?ms=5"
USERS = 4
A_SECOND = 200.0
OUTAGE_MS = 500
LASTS_S = 2.5
"""Seconds of a window, of which the outage is a fifth."""
CLOSED, OPEN = "users who wait for their answers", "arrivals that do not wait"


def _windows(scope: Scope) -> list[Window]:
    seconds = max(LASTS_S, scope.seconds)
    return [
        Window(CLOSED, seconds, load=Load(PATH, USERS), outage_ms=OUTAGE_MS),
        Window(OPEN, seconds, load=Load(PATH, 1, arrivals=A_SECOND, poisson=True), outage_ms=OUTAGE_MS),
    ]


def _judge(results: Results, scope: Scope) -> list[Claim]:
    closed, arriving = ([sample.latency_ms.p99 for sample in results.get(name, ())] for name in (CLOSED, OPEN))
    return [
        Evidence(results, [CLOSED, OPEN]).claim(
            "arrivals",
            "A closed generator flatters its victim: while the service hangs, its users do not ask.",
            compares="p99 of one outage, seen by arrivals / by users who wait",
            bound=at_least(5),
            ratios=ratios(arriving, closed),
            figures=[
                figure(f"{USERS} users, the next request after the answer", rates(results, CLOSED), "requests/s"),
                figure("arrivals", rates(results, OPEN), "requests/s"),
                figure(f"an outage of {OUTAGE_MS} ms, seen by arrivals", arriving, "ms p99"),
                figure("the same outage, seen by users who wait", closed, "ms p99"),
            ],
            obstacles=scope.crowded,
        )
    ]


EXPERIMENTS = [Experiment("arrivals", "Who sees an outage?", _windows, _judge)]
