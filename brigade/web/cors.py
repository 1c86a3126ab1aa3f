"""Cross-origin calls from browsers, of the origins in `CORS_ORIGINS`: the Fetch standard's CORS protocol, by Starlette."""

from functools import partial

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brigade.web.hot import ANSWER
from brigade.web.problems import problem_response

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
HEADERS = (
    *("Authorization", "Content-Type", "If-Match", "If-None-Match", "If-Range", "Last-Event-ID", "Range"),
    *("Traceparent", "Tracestate", "X-API-Key", "X-Request-ID"),
)
EXPOSED = (
    *("Accept-Ranges", "Content-Disposition", "Content-Range", "ETag", "Location", "Retry-After"),
    *("X-Request-ID", "X-Worker"),
)
PREFLIGHT_S = 7200
"""Chromium keeps the answer to a preflight for two hours at most."""


class Cors(CORSMiddleware):
    """Starlette's, also for answers in one message, and with problems for refusals."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code < 400:
            return answer
        headers = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
        return problem_response(answer.status_code, detail=bytes(answer.body).decode(), headers=headers)

    async def send(self, message: Message, send: Send, request_headers: Headers) -> None:
        if message["type"] != ANSWER:
            await super().send(message, send, request_headers)
            return

        async def send_whole(start: Message) -> None:
            await send({**start, "type": ANSWER})

        await super().send({**message, "type": "http.response.start"}, send_whole, request_headers)

    async def answer(self, response: Response, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer in place of the application, whose error has come out of it."""
        await response(scope, receive, partial(self.send, send=send, request_headers=Headers(scope=scope)))


def cors(app: ASGIApp, origins: tuple[str, ...]) -> Cors:
    """Outside of the limits and of FastAPI, so that a preflight costs little and every error can be read by the page."""
    return Cors(
        app,
        allow_origins=origins,
        allow_methods=METHODS,
        allow_headers=HEADERS,
        allow_credentials=True,
        expose_headers=EXPOSED,
        max_age=PREFLIGHT_S,
    )
