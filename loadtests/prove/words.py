"""Figures and laws as people read them, the same on the terminal and in the report."""

import math
from collections.abc import Iterator

from loadtests.prove.proof import Proof


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
    workers, cores = law.workers_for(load), proof.machine.cores
    replicas = law.replicas_for(load, workers=min(cores, law.measured_to))
    extrapolated = (
        "" if workers and workers <= law.measured_to else " This is an extrapolation: measure before you buy."
    )
    one_machine = f"{workers} workers on as many cores" if workers else "no number of workers on one machine"
    yield (
        f"{number(load)} such jobs a second would need {one_machine}, or {replicas} replicas "
        f"of {min(cores, law.measured_to)} workers.{extrapolated}"
    )
