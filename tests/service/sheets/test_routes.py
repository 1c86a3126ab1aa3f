"""Sheets: ordered by HTTP, drawn by a runner, fetched in ranges."""

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import zxingcpp
from PIL import Image

from brigade import resources_of
from brigade.app import Brigade
from brigade.jobs.runner import Runner
from service.features.sheets import store
from service.features.sheets.jobs import draw
from service.features.sheets.routes import NewSheet

pytestmark = [pytest.mark.anyio, pytest.mark.drives("sheets")]

URLS = [f"https://example.com/{number}" for number in range(120)]


@pytest.fixture
async def runner(client: httpx.AsyncClient, app: Brigade) -> AsyncIterator[Runner]:
    runner = Runner(resources_of(app))
    task = asyncio.create_task(runner.run())
    yield runner
    await runner.stop(within_s=5)
    await task


async def done(client: httpx.AsyncClient, at: str) -> Any:
    async with asyncio.timeout(60):
        while (sheet := (await client.get(at)).json())["state"] != "done":  # noqa: ASYNC110 - as a client does
            await asyncio.sleep(0.05)
    return sheet


@pytest.mark.parametrize("variables", [{"CPU_LANE_PROCESSES": "0"}])
async def test_a_sheet_is_ordered_drawn_and_fetched(client: httpx.AsyncClient, runner: Runner) -> None:
    ordered = await client.post("/sheets", json={"urls": URLS})
    assert (ordered.status_code, ordered.json()["of"]) == (202, 120)
    sheet = await done(client, ordered.headers["location"])
    assert (sheet["done"], sheet["of"]) == (120, 120)
    whole = await client.get(sheet["file"])
    assert (whole.status_code, whole.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(whole.content)) as archive:
        assert len(archive.namelist()) == 120
        found = zxingcpp.read_barcode(Image.open(archive.open("00120.png")))
    assert found is not None
    assert found.text == URLS[119]
    size = len(whole.content)
    for asked, start, end in (("0-9", 0, 10), ("100-", 100, size), ("-5", size - 5, size), (f"5-{10**30}", 5, size)):
        part = await client.get(sheet["file"], headers={"Range": f"bytes={asked}"})
        assert (part.status_code, part.content) == (206, whole.content[start:end])
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
    past = await client.get(sheet["file"], headers={"Range": f"bytes={size}-"})
    assert (past.status_code, past.headers["content-range"]) == (416, f"bytes */{size}")
    for headers in ({"Range": "bytes=0-9", "If-Range": '"another"'}, {"Range": "lines=1-2"}, {"Range": "bytes=9-1"}):
        assert len((await client.get(sheet["file"], headers=headers)).content) == size
    assert (await client.head(sheet["file"])).headers["content-length"] == f"{size}"
    await is_sent_under_conditions(client, sheet["file"], whole)


async def test_head_reads_nothing_of_the_file_and_a_range_no_more_than_itself(
    client: httpx.AsyncClient, app: Brigade, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read past the range that is asked for would fail here."""
    location = (await client.post("/sheets", json={"urls": URLS[:1]})).headers["location"]
    async with resources_of(app).pg.acquire() as connection:
        await connection.execute("UPDATE sheets SET file = decode(repeat('ab', 1000000), 'hex')")
    within = "SELECT substring(file FROM $2 FOR $3) FROM sheets WHERE id = $1 AND 1 / ($2 + $3 <= 600001)::int = 1"
    monkeypatch.setattr(store, "READ_PART", within)
    part = await client.get(f"{location}/file", headers={"Range": "bytes=1000-599999"})
    assert (part.status_code, part.content) == (206, b"\xab" * 599_000)
    monkeypatch.setattr(store, "READ_PART", "SELECT 1 / 0 WHERE $1::int + $2::int + $3::int > 0")
    for headers in ({}, {"Range": "bytes=5-9"}):
        head = await client.head(f"{location}/file", headers=headers)
        assert (head.status_code, head.headers["content-length"], head.headers["accept-ranges"]) == (
            200,
            "1000000",
            "bytes",
        )


async def is_sent_under_conditions(client: httpx.AsyncClient, at: str, whole: httpx.Response) -> None:
    etag, part = whole.headers["etag"], {"Range": "Bytes=0-9"}
    for method, headers, status in (
        ("GET", {"If-None-Match": etag}, 304),
        ("GET", {"If-None-Match": f'"another", W/{etag}'} | part, 304),
        ("HEAD", {"If-None-Match": "*"}, 304),
        ("GET", {"If-None-Match": '"another"'} | part, 206),
        ("GET", {"If-Match": '"another"'} | part, 412),
        ("GET", {"If-Match": f"W/{etag}"}, 412),
        ("GET", {"If-Match": f'"another", {etag}'} | part, 206),
        ("GET", {"If-Match": "*"}, 200),
        ("GET", {"If-Range": etag} | part, 206),
        ("HEAD", part, 200),
        ("HEAD", {"Range": f"bytes={len(whole.content)}-"}, 200),
    ):
        answer = await client.request(method, at, headers=headers)
        assert (answer.status_code, answer.headers.get("etag", etag)) == (status, etag), headers
        if method == "HEAD" and status == 200:
            assert answer.headers["content-length"] == f"{len(whole.content)}"


@pytest.mark.parametrize("text", ["ü" * 2048, "Ж" * 1817, "😀" * 738, "漢" * 1817])
def test_the_largest_text_that_is_taken_can_be_drawn(text: str) -> None:
    assert draw([NewSheet(urls=[text]).urls[0]])


async def test_a_sheet_waits_for_a_runner(client: httpx.AsyncClient) -> None:
    at = (await client.post("/sheets", json={"urls": URLS[:1]})).headers["location"]
    assert (await client.get(at)).json()["state"] == "waiting"
    assert (await client.get(f"{at}/file")).json()["type"] == "urn:problem:sheet-not-ready"
    assert (await client.get("/sheets/99")).json()["type"] == "urn:problem:sheet-not-found"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"urls": []},
        {"urls": ["a\0"]},
        {"urls": ["x" * 2049]},
        {"urls": ["a"] * 10_001},
        {"urls": ["Ж" * 1818]},  # no QR code has room for it
        {"urls": ["😀" * 739]},
        {"urls": ["漢" * 1818]},
        {"urls": ["漢" * 1476 + "ab"]},
    ],
)
async def test_what_is_no_sheet_is_refused(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    assert (await client.post("/sheets", json=body)).status_code == 422
