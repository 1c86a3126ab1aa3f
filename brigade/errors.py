"""Errors that carry their status. Routes and stores raise them; `brigade.web.problems` turns each into an answer."""

import math
from typing import Any

from starlette.exceptions import HTTPException


class Problem(HTTPException):
    """The root. A subclass sets `status`, `type` and `title`; `detail` says what to do about this one occurrence."""

    status: int = 500
    type: str = "about:blank"
    title: str = ""

    def __init__(self, detail: str = "", *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(self.status, detail, headers)
        self.extra = extra


class InvalidRequest(Problem):
    status, type, title = 422, "urn:problem:invalid-request", "The request is not valid"


class MalformedBody(Problem):
    """The answer to a body that is not text."""

    status, title = 400, "Bad Request"


class ContentTooLarge(Problem):
    status, type, title = 413, "urn:problem:content-too-large", "The body is too large"


class UnsupportedMediaType(Problem):
    status, type, title = 415, "urn:problem:unsupported-media-type", "The body has another content type"


class UnsupportedCoding(Problem):
    status, type, title = 415, "urn:problem:unsupported-content-coding", "The body has a content coding"


class Unauthorized(Problem):
    status, type, title = 401, "urn:problem:unauthorized", "A key is needed"


class _Later(Problem):
    """The same request may succeed after `retry_after_s`."""

    def __init__(self, detail: str = "", *, retry_after_s: float = 1) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, math.ceil(retry_after_s)))})


class TooManyRequests(_Later):
    status, type, title = 429, "urn:problem:too-many-requests", "Too many requests"


class Unavailable(_Later):
    """Something has no room or no answer now."""

    status, type, title = 503, "urn:problem:unavailable", "Not available now"


class DatabaseUnavailable(Unavailable):
    type, title = "urn:problem:database-unavailable", "The database does not answer"


class ConnectionLost(DatabaseUnavailable):
    """Nobody knows whether what was asked of it has been done."""


class SchemaBehind(DatabaseUnavailable):
    type, title = "urn:problem:schema-behind", "The database's schema is older than this code"


class CacheUnavailable(Unavailable):
    type, title = "urn:problem:cache-unavailable", "The cache does not answer"


class LaneFull(Unavailable):
    type, title = "urn:problem:cpu-lane-full", "The CPU lane is full"


class UpstreamTimeout(Problem):
    status, type, title = 504, "urn:problem:upstream-timeout", "Another service did not answer in time"


class UpstreamFailure(Problem):
    status, type, title = 502, "urn:problem:upstream-failure", "Another service failed"


class UpstreamUnavailable(Unavailable):
    type, title = "urn:problem:upstream-unavailable", "Another service is left alone for a moment"


class RequestTimeout(Unavailable):
    type, title = "urn:problem:request-timeout", "The request took too long"
