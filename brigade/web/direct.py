"""Finds the route of a request at once. FastAPI tries the routes of an included router twice for each request, and those of a
router within it three times, which took a quarter of a read and a third of a health check.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from fastapi.params import Form
from fastapi.routing import APIRoute, RouteContext
from starlette.convertors import Convertor
from starlette.datastructures import URLPath
from starlette.routing import BaseRoute, Match, NoMatchFound, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from brigade.telemetry.loop_watch.stacks import is_layer
from brigade.web.root_path import without_prefix

is_layer(__file__)

APP = "service.direct"


class _Entry(NamedTuple):
    match: Callable[[str], "re.Match[str] | None"]
    methods: set[str] | None
    convertors: Mapping[str, Convertor[Any]]
    child_scope: Mapping[str, Any] | None
    """The entries that the route adds to a scope, beside its parameters. None if only FastAPI's own search leads to it."""


class DirectRoutes(BaseRoute):
    """The first route of an application. It matches what the routes behind it match, in their order, and calls what FastAPI
    has made of the route. It leaves to them what is traced, and every request that no route serves.
    """

    def __init__(self, routes: Iterable[RouteContext]) -> None:
        self._entries: list[_Entry] = []
        fixed: set[str] = set()
        for route in routes:
            regex = getattr(route, "path_regex", None)
            if regex is None:
                break  # it goes by something else than the path, and comes before the rest
            if not isinstance(route.original_route, WebSocketRoute):
                self._entries.append(_Entry(regex.match, route.methods, route.param_convertors, _child_scope(route)))
                if route.path and "{" not in route.path:
                    fixed.add(route.path)
        self._of_path = {path: [entry for entry in self._entries if entry.match(path)] for path in fixed}

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] != "http" or scope.get("fastapi.telemetry") is not None:
            return Match.NONE, {}
        path, method = without_prefix(scope["path"], scope.get("root_path", "")), scope["method"]
        for entry in self._of_path.get(path, self._entries):
            found = entry.match(path)
            if found is not None and (not entry.methods or method in entry.methods):
                if entry.child_scope is None:
                    break
                values = {name: entry.convertors[name].convert(value) for name, value in found.groupdict().items()}
                return Match.FULL, {**entry.child_scope, "path_params": scope.get("path_params", {}) | values}
        return Match.NONE, {}

    def handle(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:  # type: ignore[override]
        """This is not a coroutine, which the base class need not know: what is awaited is the route."""
        app: ASGIApp = scope.pop(APP)
        return app(scope, receive, send)

    def url_path_for(self, name: str, /, **path_params: object) -> URLPath:
        raise NoMatchFound(name, path_params)


def _app_of(route: RouteContext) -> ASGIApp | None:
    """Return None for a route that is not of FastAPI, that does more, or that reads a form, because the limits of forms are
    those of the routers on the way.
    """
    own = route.original_route
    if not isinstance(own, APIRoute) or isinstance(getattr(route.body_field, "field_info", None), Form):
        return None
    is_plain = type(own).handle is APIRoute.handle and type(own).matches is APIRoute.matches
    app: ASGIApp | None = route.app if is_plain else None
    return app


def _child_scope(route: RouteContext) -> dict[str, Any] | None:
    app = _app_of(route)
    return None if app is None else {"endpoint": route.endpoint, "route": route.original_route, APP: app}
