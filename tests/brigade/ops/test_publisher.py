import asyncio

import pytest

from brigade.ops.publisher import Publisher
from brigade.resources import Resources
from brigade.telemetry import metrics

pytestmark = pytest.mark.anyio


async def test_figure_that_cannot_be_told_holds_up_no_other_and_is_counted(
    resources: Resources, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fail() -> None:
        raise KeyError

    monkeypatch.setattr(metrics, "told_each_second", [fail, lambda: loop.call_soon_threadsafe(told.set)])
    for _ in range(2):
        told.clear()
        with Publisher(resources):
            await asyncio.wait_for(told.wait(), 10)
    failures = metrics.registry.get_sample_value("background_task_failures_total", {"task": "metrics"})
    assert failures is not None
    assert failures >= 2
