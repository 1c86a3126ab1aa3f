import asyncio

import asyncpg
import httpx
import pytest

from service.features.links import metrics
from service.features.links.previews import is_preview

PERSON = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
PREVIEWS = [
    ("Sec-Purpose", "prefetch"),
    ("Sec-Purpose", "prefetch;prerender"),
    ("Sec-Purpose", "prefetch;anonymous-client-ip"),
    ("Purpose", "prefetch"),
    ("X-Moz", "prefetch"),
    ("X-Purpose", "preview"),
    ("User-Agent", "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"),
    ("User-Agent", "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)"),
    ("User-Agent", "TelegramBot (like TwitterBot)"),
    ("User-Agent", "facebookexternalhit/1.1"),
    ("User-Agent", "WhatsApp/2.23.20.0"),
    ("User-Agent", "Mozilla/5.0 (compatible; Baiduspider/2.0)"),
]
VISITS = [
    ("User-Agent", PERSON),
    ("User-Agent", "Mozilla/5.0 (Linux; Android 13; CUBOT P80) AppleWebKit/537.36 Chrome/120.0 Mobile Safari/537.36"),
    ("User-Agent", "curl/8.5.0"),
    ("Sec-Purpose", ""),
    ("Referer", "https://prefetch.example/bot"),
]


@pytest.mark.parametrize(("header", "expected"), [*((h, True) for h in PREVIEWS), *((h, False) for h in VISITS)])
def test_what_software_does_by_itself_is_told_from_a_visit(header: tuple[str, str], expected: bool) -> None:
    name, value = header
    assert is_preview([(b"host", b"a"), (name.lower().encode(), value.encode())]) is expected


@pytest.mark.anyio
async def test_previews_are_led_and_are_no_clicks(client: httpx.AsyncClient, pg: asyncpg.Pool) -> None:
    await client.post("/links", json={"url": "http://example.com/", "code": "link"})
    previews = metrics.previews.total
    for name, value in [*PREVIEWS, *VISITS]:
        answer = await client.get("/r/link", headers={name: value})
        assert (answer.status_code, answer.headers["location"]) == (307, "http://example.com/")
        await client.head("/r/link", headers={name: value})
    async with asyncio.timeout(20):
        while await pg.fetchval("SELECT clicks FROM links") < len(VISITS):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (await client.get("/links/link")).json()["clicks"] == len(VISITS)
    assert metrics.previews.total - previews == len(PREVIEWS)
