"""Cross-origin calls from browsers, of the origins in `CORS_ORIGINS`: the Fetch standard's CORS protocol, by Starlette."""

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
HEADERS = ("Authorization", "Content-Type", "If-None-Match", "Last-Event-ID", "X-API-Key", "X-Request-ID")
EXPOSED = ("ETag", "Location", "Retry-After", "X-Request-ID", "X-Worker")
PREFLIGHT_S = 7200
"""Chromium keeps the answer to a preflight for two hours at most."""


def cors(app: ASGIApp, origins: tuple[str, ...]) -> ASGIApp:
    """Outside of the limits and of FastAPI, so that a preflight costs little and every error can be read by the page."""
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=HEADERS,
        allow_credentials=True,
        expose_headers=EXPOSED,
        max_age=PREFLIGHT_S,
    )
