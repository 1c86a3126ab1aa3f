"""Renders every error as `application/problem+json` (RFC 9457), and documents it in OpenAPI."""

import json
import re
import traceback
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import FastAPI, Request, params
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from brigade.errors import InvalidRequest, Problem, UnsupportedMediaType
from brigade.headers import has_content

F = TypeVar("F", bound=Callable[..., Any])

MEDIA_TYPE = "application/problem+json"
SCHEMA = {
    "type": "object",
    "required": ["type", "title", "status"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
    },
}


def problem_response(
    status: int,
    *,
    title: str = "",
    detail: str = "",
    type: str = "about:blank",
    headers: Mapping[str, str] | None = None,
    **extra: Any,
) -> Response:
    body = {"type": type, "title": title or HTTPStatus(status).phrase, "status": status}
    if detail and detail != body["title"]:
        body["detail"] = detail
    return Response(json.dumps(body | extra), status, headers, MEDIA_TYPE)


def may_raise(*kinds: type[Problem]) -> Callable[[F], F]:
    """Mark a dependency with what it raises: every route that has it then documents these in OpenAPI."""

    def mark(dependency: F) -> F:
        dependency.__dict__["problems"] = kinds
        return dependency

    return mark


def documented(*problems: type[Problem]) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: what it may answer instead, for OpenAPI. Name only the route's own errors.

    401, 413, 415, 422, 429 and 503 come from the engine and from the dependencies that raise them.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for problem in problems:
        example = {"type": problem.type, "title": problem.title, "status": problem.status}
        response = responses.setdefault(problem.status, {"description": "", "content": {MEDIA_TYPE: {}}})
        response["description"] = "; ".join(filter(None, [response["description"], problem.title]))
        content = response["content"][MEDIA_TYPE]
        content["schema"] = SCHEMA
        content.setdefault("examples", {})[problem.__name__] = {"value": example}
    return responses


def render(error: HTTPException) -> Response:
    if error.status_code == HTTPStatus.NOT_MODIFIED:
        return Response(status_code=error.status_code, headers=error.headers)
    detail, headers = str(error.detail), error.headers
    if not isinstance(error, Problem):
        return problem_response(error.status_code, detail=detail, headers=headers)
    return problem_response(
        error.status_code, type=error.type, title=error.title, detail=detail, headers=headers, **error.extra
    )


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    _let_go(error)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        error.headers = {"Allow": ", ".join(_allowed(request))}
    return render(error)


def _let_go(error: Exception) -> None:
    """Break the cycle between the exception and the frame that holds the request body.

    It would otherwise keep the body until the next garbage collection, which counts objects and not their bytes.
    """
    traceback.clear_frames(error.__traceback__)


def _allowed(request: Request) -> list[str]:
    """Starlette names the methods of the first route that has the path, and a path may have several."""
    scopes = [{**request.scope, "method": method} for method in ("GET", "POST", "PUT", "PATCH", "DELETE")]
    routes = request.app.router.routes
    allowed = [scope["method"] for scope in scopes if any(route.matches(scope)[0] is Match.FULL for route in routes)]
    return ["HEAD", *allowed] if "GET" in allowed else allowed


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    _let_go(error)
    if (wanted := _other_media_type(request)) is not None:
        return render(UnsupportedMediaType(f"Send the body with the header Content-Type: {wanted}."))
    return render(_tell(error.errors()))


async def _invalid_handshake(_: Request, error: Exception) -> Response:
    assert isinstance(error, WebSocketRequestValidationError)
    return render(_tell(error.errors()))


def _tell(parts: Sequence[Any]) -> InvalidRequest:
    for part in parts:
        if isinstance(raised := part.get("ctx", {}).get("error"), Exception):
            raised.__traceback__ = None  # a validator's: its frame leads to those that hold these parts, and the body
    errors = [
        {"at": "/".join(map(str, part["loc"])), "message": part["msg"].removeprefix("Value error, ")} for part in parts
    ]
    return InvalidRequest("; ".join(f"{part['at']}: {part['message']}" for part in errors), errors=errors)


def _other_media_type(request: Request) -> str | None:
    """The content type that the route takes, where the body has come with another one or with none."""
    field = getattr(request.scope.get("route"), "body_field", None)
    if field is None or isinstance(field.field_info, params.Form):
        return None
    if not has_content(request.scope["headers"]):
        return None  # nothing was sent: what is missing is the body
    sent = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return None if re.fullmatch(r"application/(.+\+)?json", sent) else "application/json"


async def _unhandled(_: Request, error: Exception) -> Response:
    raise error  # past Starlette's plain-text 500: the outermost layer logs it once and answers with a problem


def install(app: FastAPI) -> None:
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(WebSocketRequestValidationError, _invalid_handshake)
    app.add_exception_handler(Exception, _unhandled)
