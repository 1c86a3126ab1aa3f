"""The user of Redis that docs/stores.md describes may do all that the service asks for."""

import asyncio
import re
from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from redis.asyncio import Redis

from brigade.resources import Resources, open_resources
from brigade.sizing import make_plan, read_limits
from brigade.stores import copies
from brigade.stores.deployment import Deployment
from brigade.telemetry.metrics import WorkerStats
from service.settings import Settings
from tests.conftest import ROOT
from tests.service.links.conftest import OpenClient

pytestmark = pytest.mark.anyio

DOCS = (ROOT / "docs" / "stores.md").read_text("utf-8")
DONE_WITHOUT = {"client|setname", "client|setinfo", "client|maint_notifications", "hello"}
"""Commands for which the service asks, and which it does without."""


async def test_the_rights_that_the_docs_name_suffice(
    open_client: OpenClient, settings: Settings, redis_url: str
) -> None:
    rights = re.findall(r"^ACL SETUSER (.+)$", DOCS, re.M)
    admin: Any
    async with Redis.from_url(redis_url) as admin:
        try:
            await admin.execute_command("ACL", "SETUSER", *rights[0].split())
            await admin.execute_command("ACL", "LOG", "RESET")
            url = SecretStr(re.sub("//[^@]*@", "//brigade:password@", redis_url))
            async with open_client(redis_url=url) as client:
                await follows_a_link(client)
            asked = settings.model_copy(update={"redis_url": url})
            async with open_resources(asked, make_plan(asked, read_limits()), WorkerStats()) as resources:
                await starts(resources)
            denied = {entry[b"object"].decode() for entry in map(as_map, await admin.execute_command("ACL", "LOG"))}
        finally:
            await admin.execute_command("ACL", "DELUSER", "brigade")
    assert denied <= DONE_WITHOUT


async def follows_a_link(client: httpx.AsyncClient) -> None:
    code = (await client.post("/links", json={"url": "https://example.com/"})).json()["code"]
    assert [(await client.get(f"/r/{code}")).status_code for _ in range(3)] == [307] * 3
    async with asyncio.timeout(20):
        while (await client.get(f"/links/{code}")).json()["clicks"] < 3:  # noqa: ASYNC110 - as a client does
            await asyncio.sleep(0.1)
    assert (await client.delete(f"/links/{code}")).status_code == 204
    assert (await client.get(f"/r/{code}")).status_code == 404


async def starts(resources: Resources) -> None:
    assert await resources.cache.run(lambda redis: redis.ping())
    keys = resources.cache.keys
    assert await resources.cache.run(Deployment(keys, address="here").claim)
    assert await resources.cache.run(lambda redis: copies.sign(redis, keys)) == 1


def as_map(entry: object) -> dict[bytes, bytes]:
    if isinstance(entry, dict):
        return {key if isinstance(key, bytes) else key.encode(): value for key, value in entry.items()}
    assert isinstance(entry, list)
    return dict(zip(entry[::2], entry[1::2], strict=True))
