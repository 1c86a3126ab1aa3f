"""`/docs`: FastAPI's own page, which loads Swagger UI from a CDN, held to just that by a Content-Security-Policy."""

import base64
import hashlib
import re

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import HTMLResponse

SWAGGER_UI = "https://cdn.jsdelivr.net/npm/swagger-ui-dist@5/"


def install(app: FastAPI) -> None:
    html = bytes(
        get_swagger_ui_html(
            openapi_url="openapi.json",
            title=app.title,
            swagger_js_url=f"{SWAGGER_UI}swagger-ui-bundle.js",
            swagger_css_url=f"{SWAGGER_UI}swagger-ui.css",
            swagger_favicon_url="data:,",
        ).body
    )
    (script,) = re.findall(rb"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    policy = (
        f"default-src 'none'; script-src {SWAGGER_UI} 'sha256-{digest}'; style-src {SWAGGER_UI} 'unsafe-inline'; "
        "img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )

    async def read_docs(_: Request) -> HTMLResponse:
        return HTMLResponse(html, headers={"Content-Security-Policy": policy})

    app.add_route("/docs", read_docs, include_in_schema=False)
