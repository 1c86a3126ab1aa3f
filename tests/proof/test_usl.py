"""The law is found again in points that were made from it."""

import math

import pytest

from proof.prove.usl import Law, extrapolate, fit

TRUE = Law(rate=20.0, contention=0.03, coherency=0.0008, error=0.0, measured_to=0)


def _points(law: Law, counts: list[int], noise: tuple[float, ...] = (1.0,)) -> list[tuple[int, float]]:
    return [(count, law.throughput(count) * factor) for count in counts for factor in noise]


def test_fit_finds_the_law_the_points_were_made_from() -> None:
    law = fit(_points(TRUE, [1, 2, 4, 8, 16, 32]))
    assert law.rate == pytest.approx(TRUE.rate, rel=1e-3)
    assert law.contention == pytest.approx(TRUE.contention, rel=1e-2)
    assert law.coherency == pytest.approx(TRUE.coherency, rel=1e-2)
    assert law.error < 1e-3
    assert law.measured_to == 32


def test_fit_error_is_the_noise_of_the_points() -> None:
    law = fit(_points(TRUE, [1, 2, 4, 8, 16, 32], noise=(0.97, 1.03)))
    assert law.error == pytest.approx(0.03, rel=0.1)


def test_fit_of_two_counts_leaves_coherency_open() -> None:
    law = fit([(1, 20.0), (1, 20.2), (2, 38.0), (2, 38.4)])
    assert law.coherency is None
    assert law.throughput(2) == pytest.approx(38.2, rel=0.02)
    assert law.peak == math.inf


def test_fit_of_perfect_scaling_has_no_contention() -> None:
    law = fit([(1, 10.0), (2, 20.0), (4, 40.0)])
    assert law.contention == pytest.approx(0, abs=1e-3)
    assert law.throughput(4) == pytest.approx(40, rel=1e-2)


def test_fit_of_one_count_is_refused() -> None:
    with pytest.raises(ValueError, match="two numbers of workers"):
        fit([(2, 20.0), (2, 20.1)])


def test_peak_is_where_another_worker_gives_no_more() -> None:
    best = round(TRUE.peak)
    assert TRUE.throughput(best) > TRUE.throughput(best + 3)
    assert TRUE.throughput(best) > TRUE.throughput(best - 3)


@pytest.mark.parametrize("load", [15.0, 100.0, 230.0])
def test_workers_for_is_the_smallest_number_that_is_enough(load: float) -> None:
    workers = TRUE.workers_for(load)
    assert workers is not None
    assert TRUE.throughput(workers) >= load
    assert workers == 1 or TRUE.throughput(workers - 1) < load


def test_workers_for_more_than_the_peak_is_none() -> None:
    assert TRUE.workers_for(TRUE.throughput(TRUE.peak) * 1.01) is None
    serial = Law(rate=10.0, contention=0.5, coherency=None, error=0, measured_to=2)
    assert serial.workers_for(20.0) is None


def test_replicas_for_more_than_the_peak_are_found_all_the_same() -> None:
    assert TRUE.replicas_for(1000.0, workers=2) == math.ceil(1000 / TRUE.throughput(2))


def test_extrapolation_has_two_ends_and_is_left_out_where_they_are_far_apart() -> None:
    alike = [_points(TRUE, [1, 2, 4, 8], noise=(factor,)) for factor in (0.98, 1.0, 1.02)]
    found = extrapolate(alike, lambda law: law.workers_for(150.0))
    assert found
    assert found[0] <= (TRUE.workers_for(150.0) or 0) <= found[1] <= 2 * found[0]
    # Two workers on a shared machine: one round sees no contention, and the next sees a lot of it.
    unlike = [[(1, 44.0), (2, 88.0)], [(1, 44.0), (2, 84.0)], [(1, 46.0), (2, 80.0)]]
    assert extrapolate(unlike, lambda law: law.workers_for(500.0)) is None
    assert extrapolate(alike[:2], lambda law: law.workers_for(150.0)) is None
