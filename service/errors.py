"""Errors that carry their status, and the one renderer of all of them: `application/problem+json` (RFC 9457).

Routes raise; they hold no `try`. What a client gets is decided here.
"""

import json
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.encoders import jsonable_encoder
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"


class Problem(HTTPException):
    """The root. A subclass sets `status`, `type` and `title`; `detail` says what to do about this one occurrence."""

    status: int = 500
    type: str = "about:blank"
    title: str = ""

    def __init__(self, detail: str = "", *, headers: dict[str, str] | None = None, **extra: Any) -> None:
        super().__init__(self.status, detail, headers)
        self.extra = extra


class ContentTooLarge(Problem):
    status, type, title = 413, "urn:problem:content-too-large", "The body is too large"


class Unauthorized(Problem):
    status, type, title = 401, "urn:problem:unauthorized", "A key is needed"


class Unavailable(Problem):
    """Something has no room or no answer now; the same request may succeed after `retry_after_s`."""

    status, type, title = 503, "urn:problem:unavailable", "Not available now"

    def __init__(self, detail: str = "", *, retry_after_s: float = 1, **extra: Any) -> None:
        super().__init__(detail, headers={"Retry-After": str(max(1, round(retry_after_s)))}, **extra)


class DatabaseUnavailable(Unavailable):
    type, title = "urn:problem:database-unavailable", "The database does not answer"


class CacheUnavailable(Unavailable):
    type, title = "urn:problem:cache-unavailable", "The cache does not answer"


class LaneFull(Unavailable):
    type, title = "urn:problem:cpu-lane-full", "The CPU lane is full"


class RequestTimeout(Unavailable):
    type, title = "urn:problem:request-timeout", "The request took too long"


def problem_response(
    status: int,
    *,
    title: str = "",
    detail: str = "",
    type: str = "about:blank",
    headers: dict[str, str] | None = None,
    **extra: Any,
) -> Response:
    body = {"type": type, "title": title or HTTPStatus(status).phrase, "status": status}
    if detail and detail != body["title"]:
        body["detail"] = detail
    return Response(json.dumps(body | extra), status, headers, MEDIA_TYPE)


def render(error: HTTPException) -> Response:
    if not isinstance(error, Problem):
        return problem_response(error.status_code, detail=str(error.detail), headers=dict(error.headers or {}))
    return problem_response(
        error.status_code,
        title=error.title,
        detail=error.detail,
        type=error.type,
        headers=dict(error.headers or {}),
        **error.extra,
    )


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return render(error)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"at": "/".join(map(str, part["loc"])), "message": part["msg"].removeprefix("Value error, ")}
        for part in error.errors()
    ]
    return problem_response(
        422,
        type="urn:problem:invalid-request",
        title="The request is not valid",
        detail="; ".join(f"{part['at']}: {part['message']}" for part in errors),
        errors=jsonable_encoder(errors),
    )


async def _unhandled(_: Request, error: Exception) -> Response:
    raise error  # past Starlette's plain-text 500: the outermost layer logs it once and answers with a problem


def install(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unhandled)
