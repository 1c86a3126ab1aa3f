"""The I/O of one request can overlap too: four kinds at once take as long as the slowest, not as long as their sum."""

from proof.prove.claims import Claim, at_most, figure, ratios
from proof.prove.evidence import Evidence, Results, medians_ms
from proof.prove.experiment import Experiment, Scope
from proof.prove.window import Load, Window

KINDS = ("db", "cache", "http", "file")
WAIT_MS = 50
LONGEST_S = 0.7
"""Seconds of a window, in which one user asks a dozen times. That is enough for a median."""


def _windows(scope: Scope) -> list[Window]:
    seconds = min(LONGEST_S, scope.seconds)
    return [Window(kind, seconds, load=Load(f"/lab/io/{kind}?ms={WAIT_MS}", 1)) for kind in (*KINDS, "all")]


def _judge(results: Results, _: Scope) -> list[Claim]:
    each = {kind: medians_ms(results, kind) for kind in KINDS}
    sums, together = [sum(values) for values in zip(*each.values(), strict=True)], medians_ms(results, "all")
    return [
        Evidence(results, [*KINDS, "all"]).claim(
            "overlap",
            "Four kinds of I/O at once in one request take as long as the slowest of them.",
            compares="all at once / the four in turn",
            # A quarter is ideal where the four take equally long.
            bound=at_most(0.4),
            ratios=ratios(together, sums),
            figures=[
                *(figure(kind, values, "ms") for kind, values in each.items()),
                figure("the four in turn", sums, "ms"),
                figure("all at once", together, "ms"),
            ],
        )
    ]


EXPERIMENTS = [Experiment("overlap", "Can one request wait for several things at once?", _windows, _judge)]
