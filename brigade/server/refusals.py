"""The answers to requests that the server refuses by itself, before the application sees them, and the log of these.

They are `application/problem+json` like those of `errors`, but made without FastAPI, because the master imports this.
"""

import json
import secrets
import time
from collections.abc import Sequence
from functools import cache
from http import HTTPStatus

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from brigade.headers import SECURITY_HEADERS, Header

log = structlog.get_logger("service.refusals")

LOG_EVERY_S = 1.0


class Refused(Exception):
    def __init__(self, status: int, detail: str, headers: Sequence[Header] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers


@cache
def crowded(most: int) -> tuple[bytes, bytes]:
    """The head and the body of the answer to a request for which there is no room, made once because there are many."""
    detail = f"{most} requests are in flight already."
    problem = {"type": "urn:problem:crowded", "title": "Too many requests at once", "status": 503, "detail": detail}
    body = json.dumps(problem).encode()
    standing = b"".join(b"%s: %s\r\n" % header for header in SECURITY_HEADERS)
    head = b"%scontent-type: application/problem+json\r\nretry-after: 1\r\ncontent-length: %d\r\n" % (
        standing,
        len(body),
    )
    return STATUS_LINE[503] + head, body


class Announcer:
    """Logs at most once a second that requests are turned away, and how many have been since."""

    def __init__(self) -> None:
        self._turned_away, self._logged_at = 0, 0.0

    def turned_away(self, most: int) -> None:
        self._turned_away += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_EVERY_S:
            log.warning("no room", detail=f"{most} are in flight, as many as MAX_IN_FLIGHT", requests=self._turned_away)
            self._turned_away, self._logged_at = 0, now


announcer = Announcer()


def as_answer(refused: Refused, default_headers: Sequence[Header]) -> bytes:
    title, request_id = HTTPStatus(refused.status).phrase, secrets.token_hex(16)
    log.info("refused", status=refused.status, detail=str(refused), request_id=request_id)
    problem = {"type": "about:blank", "title": title, "status": refused.status, "detail": str(refused)}
    body = json.dumps(problem).encode()
    headers = [
        *default_headers,
        *SECURITY_HEADERS,
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),
        (b"x-request-id", request_id.encode()),
        *refused.headers,
    ]
    if refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"1"))
    return b"".join([STATUS_LINE[refused.status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n", body])
