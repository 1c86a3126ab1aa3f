"""Figures and laws as people read them, the same on the terminal and in the report."""

import math
from collections.abc import Iterator

from proof.prove.proof import Proof

GUESS = "This is an extrapolation: measure before you buy."


def number(value: float) -> str:
    """Three digits that count, and thousands apart."""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"


def law_in_words(proof: Proof) -> Iterator[str]:
    law, load = proof.law, proof.options.load
    if law is None:
        return
    coherency = "cannot be told from two numbers of workers" if law.coherency is None else f"{law.coherency:.2g}"
    yield (
        f"Universal Scalability Law: {law.rate:.1f} CPU jobs a second by one worker, contention {law.contention:.2%}, "
        f"coherency {coherency}; the points lie {law.error:.1%} from it."
    )
    workers, each = law.workers_for(load), min(proof.machine.cores, law.measured_to)
    replicas = f"{law.replicas_for(load, workers=each)} replicas of {each} workers"
    jobs = f"{number(load)} such jobs a second"
    if workers is None:
        yield f"{jobs} are more than one machine does, however many its workers; {replicas} would do them. {GUESS}"
    elif workers > law.measured_to:
        yield f"{jobs} would need {workers} workers on as many cores, or {replicas}. {GUESS}"
    else:
        yield f"{jobs} need {workers} workers."
