"""`/docs`: FastAPI's page for Swagger UI, with Swagger UI itself served from the package `fastapi-offline`.

Nothing is loaded from elsewhere, and a Content-Security-Policy keeps it so.
"""

import base64
import hashlib
import mimetypes
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import Response

from brigade.web.etag import is_known

PARTS = ("swagger-ui-bundle.js", "swagger-ui.css")
# The default validator is a service elsewhere, which would be told the address of the schema.
OPTIONS = {"validatorUrl": None}


class Part(NamedTuple):
    body: bytes
    etag: str
    media_type: str | None

    @classmethod
    def of(cls, body: bytes, media_type: str | None) -> "Part":
        return cls(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"', media_type)


def install(app: FastAPI) -> None:
    html = _page(app.title)
    page = Part.of(html, "text/html")
    policy = _policy(html)
    folder = _folder()

    async def read_docs(request: Request) -> Response:
        return _answer(request, page, {"Content-Security-Policy": policy})

    # A plain function, so that the first request reads the file in a thread.
    def read_part(request: Request) -> Response:
        return _answer(request, _part(folder / request.url.path.rpartition("/")[2]), {})

    app.add_route("/docs", read_docs, include_in_schema=False)
    for name in PARTS:
        app.add_route(f"/docs/{name}", read_part, include_in_schema=False)


def _page(title: str) -> bytes:
    """Addresses are relative, so that the page also works below a prefix."""
    response = get_swagger_ui_html(
        openapi_url="openapi.json",
        title=title,
        swagger_js_url=f"docs/{PARTS[0]}",
        swagger_css_url=f"docs/{PARTS[1]}",
        swagger_favicon_url="data:,",
        swagger_ui_parameters=OPTIONS,
    )
    return bytes(response.body)


def _policy(html: bytes) -> str:
    (script,) = re.findall(rb"<script>(.*?)</script>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{digest}'; style-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _folder() -> Path:
    """Find the package's files without importing it, because its code is of no use here."""
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("The package fastapi-offline, which has the files of /docs, is not installed.")
    return Path(spec.origin).parent / "static"


@cache
def _part(path: Path) -> Part:
    return Part.of(path.read_bytes(), mimetypes.guess_type(path.name)[0])


def _answer(request: Request, part: Part, headers: dict[str, str]) -> Response:
    # Browsers keep it, and ask each time whether it is still the same.
    headers = {"Cache-Control": "no-cache", "ETag": part.etag, **headers}
    if is_known(", ".join(request.headers.getlist("if-none-match")), part.etag):
        return Response(status_code=304, headers=headers)
    return Response(part.body, headers=headers, media_type=part.media_type)
