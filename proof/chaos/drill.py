"""Strikes one fault while visitors ask, waits until all is well, and judges what became of their requests."""

import asyncio
import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from local.process import LocalError
from proof.chaos.faults import Fault
from proof.chaos.stage import Stage
from proof.chaos.traffic import Tally, Traffic

CALM_S = 1.0
"""Before each fault, and without a failure after it."""
RECOVER_WITHIN_S = 15.0
COUNTED_WITHIN_S = 20.0
ANSWERED_WITHIN_S = 4.0
"""A refusal is promised within a second; the rest is for a machine that has no CPU to spare."""


@dataclass
class Verdict:
    fault: str
    seconds: float = 0.0
    sent: int = 0
    answered: int = 0
    refused: int = 0
    unreachable: int = 0
    cut: int = 0
    lost: int = 0
    wrong: dict[str, int] = field(default_factory=dict)
    clicks_expected: int = 0
    clicks_counted: int = 0
    recovered_s: float = 0.0
    p99_ms: float = 0.0
    longest_wait_s: float = 0.0
    broken: list[str] = field(default_factory=list)
    not_run: str = ""
    """Why not, if it was not."""

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


async def drill(fault: Fault, stage: Stage, traffic: Traffic) -> Verdict:
    if why_not := fault.why_not():
        return Verdict(fault.name, not_run=why_not)
    async with fault.setting(stage):
        return await _drill(fault, stage, traffic)


async def _drill(fault: Fault, stage: Stage, traffic: Traffic) -> Verdict:
    clicks_before = await stage.clicks()
    tally, began = traffic.begin(), time.monotonic()
    traffic.asking.set()
    verdict = Verdict(fault.name)
    await asyncio.sleep(CALM_S)
    try:
        await fault.strike(stage)
    except LocalError as error:
        verdict.broken.append(str(error))
    over = time.monotonic()
    verdict.recovered_s = await _recovered_s(stage, tally, over)
    traffic.asking.clear()  # nobody asks while clicks are counted
    await asyncio.sleep(0.4)  # for clients that ask already
    counted = await count_clicks(stage, clicks_before + tally.clicks, until=time.monotonic() + COUNTED_WITHIN_S)
    _fill(verdict, tally, counted - clicks_before, time.monotonic() - began)
    verdict.broken += _broken(verdict, fault, tally)
    return verdict


async def _recovered_s(stage: Stage, tally: Tally, over: float) -> float:
    """Seconds until the last failure, and until every worker serves; infinite where that never came."""
    whole_at = 0.0
    while time.monotonic() < over + RECOVER_WITHIN_S:
        if not whole_at and await asyncio.to_thread(stage.is_whole):
            whole_at = time.monotonic()
        if whole_at and time.monotonic() - max(tally.failed_at, over) >= CALM_S:
            return max(0.0, whole_at - over, tally.failed_at - over)
        await asyncio.sleep(0.05)
    return math.inf


async def count_clicks(stage: Stage, expected: int, *, until: float) -> int:
    """Return the clicks in Postgres as soon as they are as many as expected, or when the time is `until`."""
    while (counted := await stage.clicks()) < expected and time.monotonic() < until:  # noqa: ASYNC110 - Postgres sets no event
        await asyncio.sleep(0.1)
    await asyncio.sleep(1)  # for one too many
    return await stage.clicks() if counted >= expected else counted


def _fill(verdict: Verdict, tally: Tally, clicks: int, seconds: float) -> None:
    outcomes = tally.outcomes
    verdict.seconds, verdict.sent = seconds, tally.sent
    verdict.answered, verdict.refused, verdict.cut = outcomes["answered"], outcomes["refused"], outcomes["cut"]
    verdict.unreachable, verdict.lost, verdict.wrong = outcomes["unreachable"], outcomes["lost"], dict(tally.wrong)
    verdict.clicks_expected, verdict.clicks_counted = tally.clicks, clicks
    ordered = sorted(tally.latencies_s) or [0.0]
    verdict.p99_ms = 1000 * ordered[len(ordered) * 99 // 100]
    verdict.longest_wait_s = max(tally.slowest_s.values(), default=0.0)


def _broken(verdict: Verdict, fault: Fault, tally: Tally) -> Iterable[str]:
    if verdict.lost:
        yield f"{verdict.lost} requests had no answer"
    if verdict.wrong:
        yield f"answers that nobody promised: {verdict.wrong}"
    if verdict.cut and not fault.cuts:
        yield f"{verdict.cut} connections were cut before the answer"
    if verdict.unreachable and not fault.down:
        yield f"{verdict.unreachable} times nobody listened"
    if verdict.refused and not (fault.refuses or fault.cuts or fault.down):
        yield f"{verdict.refused} requests were refused: {dict(tally.refused)}"
    if verdict.longest_wait_s > ANSWERED_WITHIN_S and not (fault.cuts or fault.down):
        yield f"somebody waited {verdict.longest_wait_s:.1f} s"
    if not 0 <= verdict.clicks_counted - verdict.clicks_expected <= tally.doubtful:
        yield f"{verdict.clicks_counted} clicks were counted of {verdict.clicks_expected}"
    if math.isinf(verdict.recovered_s):
        yield f"it was not well again within {RECOVER_WITHIN_S:g} s"
    if not verdict.answered:
        yield "nobody was answered"
