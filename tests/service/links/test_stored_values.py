"""Rows that SQL wrote, with what Postgres permits and Python, JSON or HTTP does not: no request and no job fails by them."""

from uuid import uuid4

import asyncpg
import httpx
import pytest

from brigade.resources import Resources
from service.features.links import store

pytestmark = pytest.mark.anyio

FIRST, LAST = "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z"
INSERT = "INSERT INTO links (code, url, expires_at, created_at) VALUES ($1, $2, $3::text::timestamptz, $4::text::timestamptz)"
URL = "https://example.com/"


@pytest.mark.parametrize(
    ("time", "read", "status"),
    [
        ("infinity", LAST, 307),
        ("20000-01-01", LAST, 307),
        ("-infinity", FIRST, 410),
        ("4000-01-01 BC", FIRST, 410),
    ],
)
async def test_a_time_that_python_has_not_is_the_nearest_that_it_has(
    client: httpx.AsyncClient, resources: Resources, pg: asyncpg.Pool, time: str, read: str, status: int
) -> None:
    await pg.execute(INSERT, "stored", URL, time, time)
    link = (await client.get("/links/stored")).json()
    assert (link["expires_at"], link["created_at"]) == (read, read)
    assert (await client.get("/links")).json()["items"] == [link]
    assert [(await client.get("/r/stored")).status_code for _ in range(2)] == [status] * 2  # of Postgres, of Redis
    assert (await client.get("/links/stored/qr")).status_code == (200 if status == 307 else 410)
    assert (await client.post("/links", json={"url": URL, "code": "stored"})).status_code == 409
    assert await store.delete_expired(resources.pg) == (status == 410)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "https://example.com/\r\nSet-Cookie: a=b",
        "https://[zz/ü",
        "https://-ü-/",
        "/ü",
        "mailto:ü",
        "https://\x7fü/",
    ],
)
async def test_a_url_that_no_header_can_hold_leads_nowhere(
    client: httpx.AsyncClient, pg: asyncpg.Pool, url: str
) -> None:
    await pg.execute(INSERT, "stored", url, None, "now")
    assert (await client.get("/links/stored")).json()["url"] == url
    assert (await client.get("/links")).json()["items"][0]["url"] == url
    for _ in range(2):
        answer = await client.get("/r/stored")
        assert (answer.status_code, answer.json()["type"]) == (410, "urn:problem:link-expired")


async def test_a_count_that_is_full_keeps_no_clicks_of_others(
    client: httpx.AsyncClient, resources: Resources, pg: asyncpg.Pool
) -> None:
    full, other = [await store.insert_link(resources.pg, url=URL, code=code) for code in ("full", "other")]
    await pg.execute("UPDATE links SET clicks = 9223372036854775806 WHERE code = 'full'")
    await store.add_clicks(resources.pg, batch=uuid4().hex, clicks={full.id: 3, other.id: 4})
    clicks = [(await client.get(f"/links/{code}")).json()["clicks"] for code in ("full", "other")]
    assert clicks == [9223372036854775807, 4]
