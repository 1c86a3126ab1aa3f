"""Verdicts: what proves a claim, what fails it, and what only says that this run cannot tell."""

import pytest

from proof.prove.claims import Claim, Ratio, Verdict, at_least, at_most, figure, ratios
from proof.prove.evidence import Evidence
from proof.prove.window import Percentiles, Sample, Use

GOOD = Sample("w", workers=1, seconds=2, done=100, statuses={"200": 100})
PROVED, NOT_PROVED, CANNOT = "proved", "not proved", "cannot be told here"


def _claim(sample: Sample, ratio: float = 20, allowed: tuple[str, ...] = ()) -> Claim:
    return Evidence({"w": [sample]}, ["w"], allowed).claim(
        "name", "It is so.", compares="a / b", bound=at_least(10), ratios=Ratio((ratio,) * 5), figures=[]
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
        # A refusal for want of time: a fault on a calm machine, and none where other programs took it.
        (_changed(statuses={"503": 5}, done=0), 9, NOT_PROVED, "5 times 503"),
        (_changed(statuses={"503": 5}, done=0, foreign_cores=1.5, starved_cores=0.8), 9, CANNOT, "5 times 503"),
    ],
)
def test_verdict_follows_from_ratio_and_samples(sample: Sample, ratio: float, verdict: str, why: str) -> None:
    claim = _claim(sample, ratio)
    assert claim.verdict == verdict
    assert why in claim.why


def test_verdict_allows_the_refusals_that_are_part_of_the_experiment() -> None:
    assert _claim(_changed(statuses={"200": 50, "503": 50}), allowed=("503",)).verdict == PROVED


def test_verdict_without_any_measurement_cannot_be_told() -> None:
    claim = Evidence({}, ["w"]).claim("n", "s", compares="c", bound=at_most(1), ratios=Ratio(()), figures=[])
    assert claim.verdict == CANNOT


def _of(*rounds: float, **more: tuple[str, ...]) -> Claim:
    return Claim("n", "s", "c", at_least(10), Ratio(rounds), (), **more)


@pytest.mark.parametrize(
    ("rounds", "verdict", "why"),
    [
        ((12, 30, 11), PROVED, ""),
        ((3, 30, 12), CANNOT, "more or longer rounds"),
        ((3, 9, 4), NOT_PROVED, ""),
        # One round shows no spread: its ratio counts only where a factor of two changes nothing.
        ((21,), PROVED, ""),
        ((12,), CANNOT, "more rounds would tell"),
        ((4,), NOT_PROVED, ""),
        # Of many rounds, one that goes astray changes nothing.
        ((3, *[12.0] * 11), PROVED, ""),
    ],
)
def test_claim_is_decided_only_where_the_interval_is_on_one_side(
    rounds: tuple[float, ...], verdict: Verdict, why: str
) -> None:
    claim = _of(*rounds)
    assert claim.verdict == verdict
    assert why in claim.why


def test_claim_that_falls_short_on_a_busy_machine_says_what_would_tell() -> None:
    claim = _of(3, 4, 5, excuses=("other programs used 1.5 cores",))
    assert claim.verdict == CANNOT
    assert "calmer machine" in claim.why


def test_ratio_is_that_of_the_figures_above_it_and_inside_its_interval() -> None:
    above, below = [10.0, 20.0, 90.0], [1.0, 10.0, 30.0]
    claim = Claim("n", "s", "c", at_least(1), ratios(above, below), (figure("a", above, ""), figure("b", below, "")))
    assert claim.ratio == claim.figures[0].value / claim.figures[1].value
    assert claim.interval
    assert claim.interval.low <= claim.ratio <= claim.interval.high
    assert (claim.figures[0].low, claim.figures[0].high) == (10, 90)


def test_ratios_leave_out_what_was_not_measured() -> None:
    assert ratios([10, 0, 30], [5, 5, 0]).rounds == (2,)


def test_sample_counts_by_the_second() -> None:
    assert _changed(latency_ms=Percentiles(1, 2, 3)).per_second == 50
