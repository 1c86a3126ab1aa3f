"""The hot route that docs/hot-path.md tells how to write, as it stands there."""

import asyncio
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from brigade.settings import Settings
from brigade.telemetry.metrics import redis_calls
from tests.as_served import as_served
from tests.bare import Bare

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[3] / "docs" / "hot-path.md"


async def test_the_example_of_the_page_runs(database_url: str, redis_url: str, redis: Redis, tmp_path: Path) -> None:
    [source] = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.M | re.S)
    feature: dict[str, Any] = {}
    exec(source, feature)
    await redis.mset({"{flags}:on": "true", "{flags}:off": "false"})
    settings = Settings(
        database_url=SecretStr(database_url), redis_url=SecretStr(redis_url), state_dir=tmp_path, access_log_sample=0
    )
    service = Bare(settings, [feature["router"]])
    async with (
        service.router.lifespan_context(service) as state,
        httpx.AsyncClient(transport=httpx.ASGITransport(as_served(service, state)), base_url="http://a") as client,
    ):
        trips = sum(redis_calls.counts)
        answers = await asyncio.gather(*(client.get(f"/flags/{name}") for name in ("on", "off", "on")))
        assert [answer.json() for answer in answers] == [True, False, True]
        assert sum(redis_calls.counts) == trips + 1
        assert (await client.get("/flags/none")).json()["type"] == "urn:problem:flag-not-found"
        operation = (await client.get("/openapi.json")).json()["paths"]["/flags/{name}"]["get"]
    assert operation["description"] == "Whether a feature is on."
    assert {"200", "404", "503"} <= operation["responses"].keys()
