"""What the server refuses by itself, before the application sees it, in which words, and a line of log for it.

Like `errors` it speaks `application/problem+json`, but without fastapi: the master imports it.
"""

import json
import re
import secrets
import time
from collections.abc import Sequence
from functools import cache
from http import HTTPStatus

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

Header = tuple[bytes, bytes]

SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"strict-origin-when-cross-origin"),
]
"""Of every answer but a redirect. What serves HTML adds a Content-Security-Policy, and what ends TLS adds HSTS."""

BY_MACHINES = frozenset({"/livez", "/readyz", "/metrics", "/workers"})
"""Asked for every few seconds: answered however full the worker is, as a proxy that hears nothing takes it for dead, and
logged only when they fail.
"""

log = structlog.get_logger("service.refusals")

TELL_EVERY_S = 1.0

MAX_HEADERS = 100
"""As Gunicorn and Apache have it. In `MAX_HEADER_BYTES` there is room for 5,000, which took 580 kB of memory."""

_IS_HOST = re.compile(rb"[\w.~!$&'()*+,;=%:\[\]-]{0,260}").fullmatch
"""A name of 253, a dot and a port. Answers repeat it, and a QR code has no room for much more than 1,000."""


class Refused(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def check_head(headers: Sequence[Header], version: str) -> None:
    """What llhttp lets pass and a server must not: RFC 9112, 3.2 and 6.1.

    Raises:
        Refused
    """
    check_header_count(headers)
    hosts = 0
    for name, value in headers:
        if name == b"host":
            hosts += 1
            if not _IS_HOST(value):
                raise Refused(400, "The Host header is not a host.")
        elif name == b"transfer-encoding" and (value.lower() != b"chunked" or version != "1.1"):
            raise Refused(501, "The one transfer coding is chunked, and HTTP/1.1 has it.")
    if hosts != 1 and (hosts or version != "1.0"):
        raise Refused(400, "A request has one Host header.")
    if version not in {"1.1", "1.0"}:
        raise Refused(505, "This is an HTTP/1.1 server.")


def check_header_count(headers: Sequence[Header]) -> None:
    if len(headers) > MAX_HEADERS:
        raise Refused(431, f"A request may have {MAX_HEADERS} headers at most.")


def check_head_size(head_bytes: int, most: int) -> None:
    if head_bytes > most:
        raise Refused(431, f"The head of a request may have {most} bytes at most.")


@cache
def crowded(most: int) -> tuple[bytes, bytes]:
    """The head and the body of the answer to a request for which there is no room: made once, as there are many."""
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
    """Says at most once a second that requests are turned away, and how many have been since."""

    def __init__(self) -> None:
        self._turned_away, self._told_at = 0, 0.0

    def turned_away(self, most: int) -> None:
        self._turned_away += 1
        now = time.monotonic()
        if now - self._told_at >= TELL_EVERY_S:
            log.warning("no room", detail=f"{most} are in flight, as many as MAX_IN_FLIGHT", requests=self._turned_away)
            self._turned_away, self._told_at = 0, now


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
    ]
    if refused.status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers.append((b"retry-after", b"1"))
    return b"".join([STATUS_LINE[refused.status], *(b"%s: %s\r\n" % header for header in headers), b"\r\n", body])
