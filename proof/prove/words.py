"""Figures and laws as people read them, the same on the terminal and in the report."""

import math
from collections.abc import Iterator

from proof.prove.experiments.scaling import points
from proof.prove.proof import Proof
from proof.prove.usl import extrapolate

UNTOLD = "their laws differ by more than a factor of two, or have no answer. More cores, and longer rounds, would tell."
GUESS = "This is an extrapolation: measure before you buy."


def number(value: float) -> str:
    """Three digits that count, and thousands apart."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def spread(low: float, high: float) -> str:
    """Two ends, or nothing where they are one."""
    return "" if number(low) == number(high) else f"{number(low)} to {number(high)}"


def law_in_words(proof: Proof) -> Iterator[str]:
    law, load = proof.law, proof.options.load
    if law is None:
        return
    coherency = "cannot be told from two numbers of workers" if law.coherency is None else f"{law.coherency:.2g}"
    yield (
        f"Universal Scalability Law: {law.rate:.1f} CPU jobs a second by one worker, contention {law.contention:.2%}, "
        f"coherency {coherency}; the points lie {law.error:.1%} from it."
    )
    rounds, each = points(proof.results["scaling"], proof.scope), min(proof.machine.cores, law.measured_to)
    jobs = f"{number(load)} such jobs a second"
    workers = extrapolate(rounds, lambda law: law.workers_for(load))
    if workers is not None and workers[1] <= law.measured_to:
        yield f"{jobs} need {_range(workers)} workers."
        return
    replicas = extrapolate(rounds, lambda law: law.replicas_for(load, workers=each))
    ways = [f"{_range(workers)} workers on as many cores"] if workers else []
    ways += [f"{_range(replicas)} replicas of {each} workers"] if replicas else []
    if ways:
        yield f"{jobs} would need {', or '.join(ways)}. {GUESS}"
    if not workers:
        yield f"How many workers {jobs} would need on one machine cannot be told from these rounds: {UNTOLD}"


def _range(ends: tuple[int, int]) -> str:
    low, high = ends
    return f"{low}" if low == high else f"{low} to {high}"
