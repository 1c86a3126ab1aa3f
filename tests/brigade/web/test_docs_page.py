"""`/docs` in a real browser that reaches no CDN: the test is the CDN, and a stand-in for Swagger UI says what it was given."""

import httpx
from playwright.sync_api import Route

from brigade.web.docs_page import SWAGGER_UI
from tests.browser import open_browser
from tests.conftest import StartService

STAND_IN = """
window.SwaggerUIBundle = (options) => fetch(options.url).then((answer) => answer.json()).then((schema) => {
    document.title = schema.info.title + " is drawn"; document.body.style.color = "red";
    document.head.appendChild(Object.assign(document.createElement("script"), {text: "document.title += '!'"}));
    return import("https://elsewhere.example/worm.js");
}).catch((error) => { document.body.dataset.refused = error.message; });
window.SwaggerUIBundle.presets = {};
"""


def test_docs_run_what_they_are_made_of_and_nothing_else(start_service: StartService) -> None:
    service = start_service(workers=1)
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(
            body=STAND_IN if route.request.url.endswith(".js") else "", headers={"Content-Type": "text/javascript"}
        )

    with open_browser() as browser:
        page = browser.new_page()
        page.route(lambda url: not url.startswith(service.url), answer)
        page.goto(f"{service.url}/docs")
        page.wait_for_selector("body[data-refused]", state="attached")
        assert page.title() == "Brigade is drawn"
    assert set(asked) == {f"{SWAGGER_UI}swagger-ui-bundle.js", f"{SWAGGER_UI}swagger-ui.css"}
    policy = httpx.get(f"{service.url}/docs").headers["content-security-policy"]
    assert "frame-ancestors 'none'" in policy
