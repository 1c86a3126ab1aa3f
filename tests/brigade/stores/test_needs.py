from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import APIRouter

from brigade import Brigade, Settings, needs
from brigade.stores.needs import Needs, Store

BOTH: list[Store] = ["postgres", "redis"]


@pytest.mark.parametrize(
    ("declared", "met_by"),
    [
        ([], [[], ["postgres"], ["redis"], BOTH]),
        ([needs()], [[], ["postgres"], ["redis"], BOTH]),
        ([needs("postgres")], [["postgres"], BOTH]),
        ([needs("redis")], [["redis"], BOTH]),
        ([needs("postgres", "redis")], [BOTH]),
        ([needs(one_of=("postgres", "redis"))], [["postgres"], ["redis"], BOTH]),
        ([needs(one_of=("postgres", "redis")), needs("postgres")], [["postgres"], BOTH]),
        ([needs("redis"), needs("postgres")], [BOTH]),
    ],
)
def test_needs_of_all_features_must_be_met(declared: list[Needs], met_by: list[list[Store]]) -> None:
    together = Needs.of_all(declared)
    cases: list[list[Store]] = [[], ["postgres"], ["redis"], BOTH]
    assert [answering for answering in cases if together.are_met_by(answering)] == met_by


def test_feature_that_says_nothing_needs_both() -> None:
    silent = SimpleNamespace(router=APIRouter())
    frugal = SimpleNamespace(router=APIRouter(), needed=needs("postgres"))

    def met(*features: Any) -> list[bool]:
        state = Brigade(Settings(), features=features).state
        return [state.needs.are_met_by(answering) for answering in ([], ["postgres"], BOTH)]

    assert met(silent) == [False, False, True]
    assert met(frugal) == [False, True, True]
    assert met(frugal, silent) == [False, False, True]


def test_unknown_store_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="mysql"):
        needs("mysql")  # type: ignore[arg-type]
