import asyncio
import io
import threading

import httpx
import pytest
import zxingcpp
from PIL import Image

from service.features.links import qr
from service.features.links.qr import Drawing, ErrorLevel, Format
from tests.service.links.conftest import OpenClient

pytestmark = pytest.mark.anyio

LONGEST = "a-_" + "x" * 29


@pytest.fixture
async def link(client: httpx.AsyncClient) -> httpx.AsyncClient:
    await client.post("/links", json={"url": "http://example.com/", "code": LONGEST})
    return client


@pytest.mark.parametrize("error", "lmqh")
@pytest.mark.parametrize("scale", [2, 10])
async def test_a_png_decodes_to_the_short_link(link: httpx.AsyncClient, error: str, scale: int) -> None:
    response = await link.get(f"/links/{LONGEST}/qr?format=png&scale={scale}&error={error}")
    assert response.headers["content-type"] == "image/png"
    found = zxingcpp.read_barcodes(Image.open(io.BytesIO(response.content)))
    assert [code.text for code in found] == [f"http://short.example/r/{LONGEST}"]


async def test_svg_is_the_default(link: httpx.AsyncClient) -> None:
    response = await link.get(f"/links/{LONGEST}/qr")
    assert response.headers["content-type"] == "image/svg+xml"
    assert "<svg" in response.text


async def test_a_drawing_is_cached_for_ever_and_validated_by_its_tag(link: httpx.AsyncClient) -> None:
    path = f"/links/{LONGEST}/qr"
    first = await link.get(path)
    assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
    tag = first.headers["etag"]
    for given in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = await link.get(path, headers={"if-none-match": given})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert "content-type" not in again.headers
    lines = [("if-none-match", tag), ("if-none-match", '"other"')]
    assert (await link.get(path, headers=lines)).status_code == 304
    assert (await link.get(path, headers={"if-none-match": '"other"'})).content == first.content


async def test_a_drawing_the_client_or_we_have_needs_no_room_on_the_lane(
    open_client: OpenClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_client(cpu_lane_threads=1, cpu_lane_queue=0) as client:
        await client.post("/links", json={"url": "http://example.com/", "code": "full"})
        drawn = await client.get("/links/full/qr")
        tag = drawn.headers["etag"]
        drawing, may_end = threading.Event(), threading.Event()

        def draw_slowly(_: Drawing) -> bytes:
            drawing.set()
            may_end.wait(10)
            return b""

        monkeypatch.setattr(qr, "draw", draw_slowly)
        slow = asyncio.create_task(client.get("/links/full/qr?scale=2"))
        await asyncio.to_thread(drawing.wait, 10)
        refused = await client.get("/links/full/qr?scale=3")
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:problem:cpu-lane-full")
        assert (await client.get("/links/full/qr", headers={"if-none-match": tag})).status_code == 304
        assert (await client.get("/links/full/qr")).content == drawn.content  # from memory
        may_end.set()
        assert (await slow).status_code == 200


def test_drawings_are_kept_in_so_many_bytes_and_the_oldest_goes_first() -> None:
    drawn = qr.Drawn(250)
    first, second, third = (Drawing("http://a.example/r/abcd", Format.SVG, scale, ErrorLevel.M) for scale in (1, 2, 3))
    drawn.keep(first, b"1" * 100)
    drawn.keep(second, b"2" * 60)
    drawn.keep(second, b"2" * 100)
    assert drawn.get(first) == b"1" * 100
    drawn.keep(third, b"3" * 100)
    assert [drawn.get(each) is None for each in (first, second, third)] == [False, True, False]
    drawn.keep(second, b"2" * 251)
    assert [drawn.get(each) is None for each in (first, second, third)] == [True, True, True]
    assert drawn.bytes == 0


def test_every_option_changes_the_tag() -> None:
    drawing = Drawing("http://a.example/r/abcd", Format.SVG, 10, ErrorLevel.M)
    others = [
        Drawing("http://b.example/r/abcd", Format.SVG, 10, ErrorLevel.M),
        Drawing("http://a.example/r/abcd", Format.PNG, 10, ErrorLevel.M),
        Drawing("http://a.example/r/abcd", Format.SVG, 11, ErrorLevel.M),
        Drawing("http://a.example/r/abcd", Format.SVG, 10, ErrorLevel.H),
    ]
    assert len({other.etag for other in [drawing, *others]}) == 5


@pytest.mark.parametrize("query", ["format=gif", "scale=0", "scale=41", "scale=x", "error=z"])
async def test_an_order_that_cannot_be_drawn_is_refused(link: httpx.AsyncClient, query: str) -> None:
    assert (await link.get(f"/links/{LONGEST}/qr?{query}")).status_code == 422


async def test_a_drawing_may_run_in_another_process(open_client: OpenClient) -> None:
    async with open_client(cpu_lane_processes=True) as client:
        await client.post("/links", json={"url": "http://example.com/", "code": "away"})
        assert "<svg" in (await client.get("/links/away/qr")).text
