import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import AnyHttpUrl

from brigade.settings.callers import ApiKey
from tests.service.links.conftest import OpenClient
from tests.service.links.test_urls import AS_SENT

pytestmark = pytest.mark.anyio

URL = "https://example.com/a?b=c#d"


async def create(client: httpx.AsyncClient, **link: object) -> dict[str, object]:
    response = await client.post("/links", json={"url": URL} | link)
    assert response.status_code == 201, response.text
    body: dict[str, object] = response.json()
    return body


def problem(response: httpx.Response) -> tuple[int, str]:
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, response.json()["type"]


async def test_a_link_is_made_read_followed_and_deleted(client: httpx.AsyncClient) -> None:
    response = await client.post("/links", json={"url": URL})
    link = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"http://short.example/links/{link['code']}"
    assert re.fullmatch("[A-Za-z0-9]{7}", link["code"])
    assert link["short_url"] == f"http://short.example/r/{link['code']}"
    assert (link["url"], link["expires_at"], link["clicks"]) == (URL, None, 0)
    assert (await client.get(response.headers["location"])).json() == link
    followed = await client.get(link["short_url"])
    assert (followed.status_code, followed.headers["location"], followed.content) == (307, URL, b"")
    deleted = await client.delete(f"/links/{link['code']}")
    assert (deleted.status_code, deleted.content) == (204, b"")
    for method, path in [("GET", "r/{}"), ("GET", "links/{}"), ("GET", "links/{}/qr"), ("DELETE", "links/{}")]:
        response = await client.request(method, "/" + path.format(link["code"]))
        assert problem(response) == (404, "urn:problem:link-not-found")


async def test_a_code_of_ones_own_is_taken_once(client: httpx.AsyncClient) -> None:
    assert (await create(client, code="My_code-1"))["code"] == "My_code-1"
    response = await client.post("/links", json={"url": URL, "code": "My_code-1"})
    assert problem(response) == (409, "urn:problem:code-taken")


async def test_a_code_is_free_again_when_its_link_is_deleted(client: httpx.AsyncClient) -> None:
    await create(client, code="again")
    await client.get("/r/again")
    await client.delete("/links/again")
    await create(client, code="again", url="http://example.com/new")
    assert (await client.get("/r/again")).headers["location"] == "http://example.com/new"


async def test_a_new_code_is_known_at_once_though_it_was_asked_for_before(client: httpx.AsyncClient) -> None:
    assert (await client.get("/r/early")).status_code == 404
    await create(client, code="early")
    assert (await client.get("/r/early")).status_code == 307


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": None},
        {"url": 1},
        {"url": "ftp://example.com/"},
        {"url": "http://example.com/".ljust(2049, "x")},
        {"url": URL, "code": "abc"},
        {"url": URL, "code": "x" * 33},
        {"url": URL, "code": "sp ace"},
        {"url": URL, "code": "new\n"},
        {"url": URL, "code": "ümlaut"},
        {"url": URL, "codes": "typo"},
        {"url": URL, "expires_at": "2099-01-01T00:00:00"},
        {"url": URL, "expires_at": "2001-01-01T00:00:00Z"},
        {"url": URL, "expires_at": "9999-12-31T23:59:59-12:00"},
        {"url": URL, "expires_at": 4102444800},
        {"url": URL, "expires_at": "4102444800"},
        {"url": URL, "expires_at": "soon"},
    ],
)
async def test_an_invalid_link_is_refused(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert problem(await client.post("/links", json=body)) == (422, "urn:problem:invalid-request")


@pytest.mark.parametrize("body", [b"", b"{", b'"\\ud800"', b'{"url": "http://example.com/\\ud800"}', b"\xff", b"[]"])
async def test_a_body_that_is_no_link_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    response = await client.post("/links", content=body, headers={"content-type": "application/json"})
    assert problem(response)[0] in {400, 422}


async def test_unknown_names_are_told_unless_there_are_many(client: httpx.AsyncClient) -> None:
    for names, told in ((5, 5), (90_000, 1)):
        response = await client.post("/links", json={"url": URL} | {f"x{number}": 1 for number in range(names)})
        assert problem(response) == (422, "urn:problem:invalid-request")
        assert len(response.json()["errors"]) == told


@pytest.mark.parametrize(
    "own", ["http://short.example/r/abcd", "HTTPS://SHORT.example:443/r/x", "http://s.example/go/r/1"]
)
async def test_a_link_to_a_short_link_is_refused(open_client: OpenClient, own: str) -> None:
    async with open_client(public_url=AnyHttpUrl("http://s.example/go")) as client:
        assert problem(await client.post("/links", json={"url": own})) == (422, "urn:problem:url-leads-back")
        await create(client, url="http://short.example/docs")


@pytest.mark.parametrize("host", ["", "[::1", "a:b:c", "a:99999", "%zz", "a@b", "~", "x" * 300])
async def test_nonsense_in_the_host_header_does_no_harm(client: httpx.AsyncClient, host: str) -> None:
    client.headers["Host"] = host
    link = await create(client)
    for path in ("/links/{}", "/links/{}/qr", "/links"):
        assert (await client.get(path.format(link["code"]))).status_code == 200
    assert (await client.get(f"/r/{link['code']}")).headers["location"] == URL


async def test_public_url_is_the_base_of_short_links(open_client: OpenClient) -> None:
    async with open_client(public_url=AnyHttpUrl("https://s.example/go/")) as client:
        assert (await create(client, code="based"))["short_url"] == "https://s.example/go/r/based"


@pytest.fixture
def urls() -> list[str]:
    """BRIGADE_URLS names a file of one URL a line, for a run on real ones."""
    path = os.environ.get("BRIGADE_URLS")
    return Path(path).read_text().split() if path else [*AS_SENT, "ftp://ftp.example.com/pub/"]


@pytest.mark.timeout(600)
async def test_every_url_leads_to_exactly_what_was_sent(client: httpx.AsyncClient, urls: list[str]) -> None:
    wrong = []
    for url in urls:
        created = await client.post("/links", json={"url": url})
        if created.status_code != (201 if url.lower().startswith("http") else 422):
            wrong.append((url, created.text))
        elif created.is_success:
            location = (await client.get(f"/r/{created.json()['code']}")).headers["location"]
            wrong += [] if location == url else [(url, location)]
    assert wrong == []


async def test_an_expired_link_is_gone_but_can_be_read(client: httpx.AsyncClient, pg: asyncpg.Pool) -> None:
    await pg.execute("INSERT INTO links (code, url, expires_at) VALUES ('gone', $1, now())", URL)
    for path in ("/r/gone", "/r/gone", "/links/gone/qr"):
        assert problem(await client.get(path)) == (410, "urn:problem:link-expired")
    assert (await client.get("/links/gone")).status_code == 200


async def test_a_cached_link_expires_to_the_moment(client: httpx.AsyncClient) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=0.5)
    await create(client, code="brief", expires_at=expires_at.isoformat())
    while (response := await client.get("/r/brief")).status_code == 307:
        assert datetime.now(UTC) < expires_at + timedelta(seconds=0.1)
    assert response.status_code == 410
    assert datetime.now(UTC) >= expires_at


@pytest.mark.parametrize("code", ["abc", "x" * 33, "a%20b%20c", "%C3%BCmlaut", "a.b.c.d", "abcd%00", "abcd%0A"])
async def test_what_cannot_be_a_code_is_not_found(client: httpx.AsyncClient, code: str) -> None:
    assert problem(await client.get(f"/r/{code}")) == (404, "urn:problem:link-not-found")


async def test_a_head_request_gets_the_redirect(client: httpx.AsyncClient) -> None:
    await create(client, code="heads")
    response = await client.head("/r/heads")
    assert (response.status_code, response.headers["location"]) == (307, URL)


async def test_writing_and_listing_need_a_key_where_there_are_keys(open_client: OpenClient) -> None:
    async with open_client(api_keys=(ApiKey("team:secret"),)) as client:
        for method, path in [("POST", "/links"), ("GET", "/links"), ("DELETE", "/links/abcd")]:
            response = await client.request(method, path, json={"url": URL} if method == "POST" else None)
            assert problem(response) == (401, "urn:problem:unauthorized")
        client.headers["Authorization"] = "Bearer secret"
        await create(client, code="keyed")
        assert len((await client.get("/links")).json()["items"]) == 1
        del client.headers["Authorization"]
        assert (await client.get("/links/keyed")).status_code == 200
        assert (await client.get("/r/keyed")).status_code == 307
        assert (await client.get("/links/keyed/qr")).status_code == 200


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "after=0", "after=x", f"after={2**63}"])
async def test_a_page_that_cannot_be_is_refused(client: httpx.AsyncClient, query: str) -> None:
    assert problem(await client.get(f"/links?{query}"))[0] == 422


@hypothesis_settings(
    max_examples=20, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    before=st.integers(0, 12),
    limit=st.integers(1, 5),
    meanwhile=st.lists(st.sampled_from(["insert", "delete"]), max_size=8),
)
async def test_pages_hold_every_link_once_whatever_happens_meanwhile(
    client: httpx.AsyncClient, pg: asyncpg.Pool, before: int, limit: int, meanwhile: list[str]
) -> None:
    await pg.execute("DELETE FROM links")
    await pg.execute(
        "INSERT INTO links (code, url) SELECT 'old-' || n, $2 FROM generate_series(1, $1::int) n", before, URL
    )
    changes = iter(meanwhile)
    seen: list[str] = []
    deleted: set[str] = set()
    after: int | None = None
    while True:
        page = (await client.get("/links", params={"limit": limit, **({"after": after} if after else {})})).json()
        seen += [link["code"] for link in page["items"]]
        assert len(page["items"]) <= limit
        after = page["next"]
        if after is None:
            break
        match next(changes, None):
            case "insert":
                await pg.execute("INSERT INTO links (code, url) VALUES ('new-' || gen_random_uuid(), $1)", URL)
            case "delete":  # the very link at which the next page begins
                deleted.add(await pg.fetchval("DELETE FROM links WHERE code = $1 RETURNING code", seen[-1]))
    assert len(seen) == len(set(seen))
    assert [code for code in seen if code.startswith("old")] == [f"old-{n}" for n in range(before, 0, -1)]
    assert deleted <= set(seen)
