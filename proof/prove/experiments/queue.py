"""The wait of a request as arrivals fill one worker: predicted by queueing theory, and measured."""

from statistics import median

from proof.prove.claims import Claim, at_least, figure, ratios
from proof.prove.evidence import Evidence, Results, rates
from proof.prove.experiment import Experiment, Scope
from proof.prove.window import Load, Window

SERVICE_MS = 20
SHARES = (0.2, 0.5, 0.8)
LASTS_S = 2.5
"""Seconds of a window: of the arrivals at the largest share, a hundred."""


def at_share(share: float) -> str:
    return f"arrivals at {share:.0%}"


def means_ms(results: Results, share: float) -> list[float]:
    return [sample.latency_ms.mean for sample in results.get(at_share(share), ())]


def alone_ms(results: Results) -> float:
    """The time of a request that waits for no other, as most do at the smallest share."""
    return median(sample.latency_ms.p50 for sample in results[at_share(SHARES[0])])


def utilisation(results: Results, share: float) -> float:
    """The law of utilisation: arrivals a second times the seconds that each takes."""
    return median(rates(results, at_share(share))) * alone_ms(results) / 1000


def predicted_ms(service_ms: float, load: float) -> float:
    """The mean time inside with Poisson arrivals, equal services and one server: M/D/1, by Pollaczek and Khinchine."""
    return service_ms * (1 + load / (2 * (1 - load))) if load < 1 else float("inf")


def _windows(scope: Scope) -> list[Window]:
    seconds, path = max(LASTS_S, scope.seconds), f"/lab/sleep/blocking?ms={SERVICE_MS}"
    return [
        Window(at_share(share), seconds, load=Load(path, 1, arrivals=share * 1000 / SERVICE_MS, poisson=True))
        for share in SHARES
    ]


def _judge(results: Results, scope: Scope) -> list[Claim]:
    few, many = SHARES[0], SHARES[-1]
    expected = [predicted_ms(alone_ms(results), utilisation(results, many))] if results.get(at_share(few)) else []
    return [
        Evidence(results, [at_share(few), at_share(many)]).claim(
            "utilisation",
            "Nearly full is slow: the wait grows with utilisation long before there is too much to do.",
            compares=f"mean time at {many:.0%} / at {few:.0%}",
            bound=at_least(1.5),
            ratios=ratios(means_ms(results, many), means_ms(results, few)),
            figures=[
                *(figure(f"mean time at {share:.0%}", means_ms(results, share), "ms") for share in SHARES),
                figure(f"predicted at {many:.0%}: a queue with one server (M/D/1)", expected, "ms"),
            ],
            obstacles=scope.crowded,
        )
    ]


EXPERIMENTS = [Experiment("queue", "What does a full worker cost?", _windows, _judge)]
