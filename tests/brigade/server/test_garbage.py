"""Cycles of objects that lived through some heartbeats are found all the same."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from brigade.server.garbage import MIDDLE_EVERY, OLD_EVERY, Garbage


class Node:
    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _only_by_turns() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("lived", [0, 1, 2 * MIDDLE_EVERY])
def test_a_cycle_that_lived_through_some_turns_is_collected(lived: int) -> None:
    garbage, node = Garbage(), Node()
    found = weakref.ref(node)
    for _ in range(lived):
        garbage.collect()
    del node
    assert found() is not None
    for _ in range(OLD_EVERY):
        garbage.collect()
    assert found() is None
