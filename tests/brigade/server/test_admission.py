import asyncio
import time
from collections import Counter
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial

import pytest

from brigade.server.admission import LEAST, TURN_S, Admission

pytestmark = pytest.mark.anyio

MANY = 60


async def begin_many(work: Callable[[], object]) -> list[int]:
    """In which turn of the loop each began; they begin in order."""
    admission, turn, turns, numbers = Admission(), 0, [], []

    def begin(number: int) -> None:
        work()
        numbers.append(number)
        turns.append(turn)

    for number in range(MANY):
        admission.admit(partial(begin, number))
    while len(turns) < MANY:
        await asyncio.sleep(0)
        turn += 1
    assert numbers == list(range(MANY))
    return turns


async def test_few_begin_in_a_turn_where_turns_are_long() -> None:
    turns = await begin_many(partial(asyncio.get_running_loop().call_soon, time.sleep, TURN_S))
    assert max(Counter(turns).values()) <= 2 * LEAST


async def test_more_begin_in_a_turn_where_turns_are_short() -> None:
    assert max(Counter(await begin_many(int)).values()) > 2 * LEAST


async def test_each_begins_in_the_context_in_which_it_came() -> None:
    """Or a request would have the id, and the span, of another."""
    whose, admission, seen = ContextVar[int]("whose"), Admission(), []
    for number in range(3 * LEAST):
        whose.set(number)
        admission.admit(lambda: seen.append(whose.get()))
    for _ in range(MANY):
        await asyncio.sleep(0)
    assert seen == list(range(3 * LEAST))
