"""Who asks for the metrics gets them as they stand then, and a crowd costs one scrape a second."""

import asyncio
import itertools

import pytest

from brigade.ops import scrapes as scrapes_module
from brigade.ops.scrapes import EVERY_S, Scrapes

pytestmark = pytest.mark.anyio


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> "itertools.count[int]":
    """Each scrape answers with its number."""
    numbers = itertools.count(1)
    monkeypatch.setattr(scrapes_module, "scrape", lambda: b"%d" % next(numbers))
    return numbers


async def test_a_crowd_shares_a_scrape_that_begins_after_each_has_asked(begun: "itertools.count[int]") -> None:
    scrapes = Scrapes()
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    assert await asyncio.gather(*[scrapes.read() for _ in range(50)]) == [b"1"] * 50
    assert await asyncio.gather(*[scrapes.read() for _ in range(50)]) == [b"2"] * 50
    assert loop.time() - began_s >= EVERY_S


async def test_who_leaves_takes_nothing_from_the_others(begun: "itertools.count[int]") -> None:
    scrapes = Scrapes()
    leaving, staying = (asyncio.create_task(scrapes.read()) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert await staying == b"1"
