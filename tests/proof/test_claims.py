"""Verdicts: what proves a claim, what fails it, and what only says that this run cannot tell."""

import pytest

from proof.prove.claims import Claim, at_least, at_most, ratios
from proof.prove.evidence import Evidence
from proof.prove.window import Percentiles, Sample, Use

GOOD = Sample("w", workers=1, seconds=2, done=100, statuses={"200": 100})
PROVED, NOT_PROVED, CANNOT = "proved", "not proved", "cannot be told here"


def _claim(sample: Sample, ratio: float = 20, allowed: tuple[str, ...] = ()) -> Claim:
    return Evidence({"w": [sample]}, ["w"], allowed).claim(
        "name", "It is so.", compares="a / b", bound=at_least(10), ratios=(ratio,), figures=[]
    )


def _changed(**values: object) -> Sample:
    return Sample(**{**GOOD.__dict__, **values})


@pytest.mark.parametrize(
    ("sample", "ratio", "verdict", "why"),
    [
        (GOOD, 20, PROVED, ""),
        (GOOD, 9, NOT_PROVED, ""),
        # A saturated generator or a route that is off: no ratio counts.
        (_changed(generator=Use(cpu=0.7, starved=0.3)), 20, CANNOT, "saturated"),
        (_changed(generator=Use(cpu=0.7, starved=0.3)), 9, CANNOT, "saturated"),
        (_changed(statuses={"404": 100}, done=0), 20, CANNOT, "no such route"),
        # Other programs on the cores: an excuse for what falls short, and no help for the rest.
        (_changed(foreign_cores=1.5, starved_cores=0.8), 20, PROVED, ""),
        (_changed(foreign_cores=1.5, starved_cores=0.8), 9, CANNOT, "other programs"),
        (_changed(foreign_cores=1.5, starved_cores=0.05), 9, NOT_PROVED, ""),
        # The service's own mistakes: never proved, and no excuse.
        (_changed(statuses={"200": 99, "500": 1}), 20, NOT_PROVED, "1 times 500"),
        (_changed(statuses={"ConnectionResetError": 1}), 20, NOT_PROVED, "ConnectionResetError"),
        (_changed(statuses={"503": 5}, done=0, foreign_cores=1.5, starved_cores=0.8), 9, NOT_PROVED, "5 times 503"),
    ],
)
def test_verdict_follows_from_ratio_and_samples(sample: Sample, ratio: float, verdict: str, why: str) -> None:
    claim = _claim(sample, ratio)
    assert claim.verdict == verdict
    assert why in claim.why


def test_verdict_allows_the_refusals_that_are_part_of_the_experiment() -> None:
    assert _claim(_changed(statuses={"200": 50, "503": 50}), allowed=("503",)).verdict == PROVED


def test_verdict_without_any_measurement_cannot_be_told() -> None:
    claim = Evidence({}, ["w"]).claim("n", "s", compares="c", bound=at_most(1), ratios=(), figures=[])
    assert claim.verdict == CANNOT


def test_ratio_is_the_median_of_the_repetitions() -> None:
    claim = Evidence({"w": [GOOD]}, ["w"]).claim(
        "n", "s", compares="c", bound=at_least(10), ratios=(3.0, 30.0, 12.0), figures=[]
    )
    assert claim.made_of == "c, median of 3 pairs"
    assert claim.ratio == 12
    assert claim.verdict == PROVED


def test_ratios_leave_out_what_was_not_measured() -> None:
    assert ratios([10, 0, 30], [5, 5, 0]) == (2,)


def test_sample_counts_by_the_second() -> None:
    assert _changed(latency_ms=Percentiles(1, 2, 3)).per_second == 50
