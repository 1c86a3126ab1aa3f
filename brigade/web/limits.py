"""Limits of a single route, where it needs others than the service's."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi.routing import RouteContext
from starlette.routing import compile_path
from starlette.types import Scope

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Limits:
    timeout_s: float
    max_body_bytes: int


def route_limits(*, timeout_s: float | None = None, max_body_bytes: int | None = None) -> Callable[[F], F]:
    """Bound a route by these instead of `REQUEST_TIMEOUT_S` and `MAX_BODY_BYTES`. Goes under `@router.post(...)`.

    `timeout_s` is what the route has to begin its answer; a stopping worker still ends it after `GRACEFUL_TIMEOUT_S`.
    """

    def mark(endpoint: F) -> F:
        endpoint.__dict__["route_limits"] = (timeout_s, max_body_bytes)
        return endpoint

    return mark


class LimitsByRoute:
    """Finds the limits of a request before it is routed. Costs nothing where no route has its own."""

    def __init__(self, routes: Iterable[RouteContext], default: Limits) -> None:
        self.default = default
        self._own = [
            (compile_path(route.path)[0].match, route.methods or set(), self._of(route.endpoint))
            for route in routes
            if route.path and "route_limits" in getattr(route.endpoint, "__dict__", {})
        ]

    def _of(self, endpoint: Any) -> Limits:
        timeout_s, max_body_bytes = endpoint.__dict__["route_limits"]
        most = self.default.max_body_bytes if max_body_bytes is None else max_body_bytes
        return Limits(timeout_s or self.default.timeout_s, most)

    @property
    def max_body_bytes(self) -> int:
        """The largest body that any route takes."""
        return max([self.default.max_body_bytes, *(limits.max_body_bytes for *_, limits in self._own)])

    def of(self, scope: Scope) -> Limits:
        for matches, methods, limits in self._own:
            if scope["method"] in methods and matches(scope["path"]):
                return limits
        return self.default
