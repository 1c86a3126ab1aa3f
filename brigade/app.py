"""The application: FastAPI with the engine's layers around it, its own routes, and the features of a service."""

import os
import socket
from collections.abc import AsyncIterator, MutableMapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Protocol

from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts
from fastapi.telemetry import TelemetryConfig
from opentelemetry import trace
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from brigade import __version__, lab, ops
from brigade.resources import open_resources
from brigade.settings import ConfigurationError, Settings
from brigade.sizing import make_plan, read_limits
from brigade.stores.needs import NEEDS_ALL, Needs
from brigade.stores.schema import schema
from brigade.telemetry import logs, tracing
from brigade.telemetry.metrics import WorkerStats
from brigade.web import docs_page, problems
from brigade.web.cors import cors
from brigade.web.direct import DirectRoutes
from brigade.web.guards import Guards
from brigade.web.head import Head
from brigade.web.hot import HotPaths
from brigade.web.limits import Limits, LimitsByRoute
from brigade.web.observe import Observe
from brigade.web.openapi import document
from brigade.web.probes import PROBE_PATHS, is_probe
from brigade.web.rate_limit import Allowance
from brigade.web.root_path import WithRootPath, without_prefix
from brigade.web.shortcuts import Shortcuts
from brigade.web.streams import WebSockets


class Feature(Protocol):
    """The attributes that a feature's module must have. With `needed = needs("postgres")` it says which stores it cannot do without."""

    @property
    def router(self) -> APIRouter: ...


class Brigade(FastAPI):
    """A service: its settings, and its features in the order in which their routes are tried.

    A feature is a module with a `router`. The engine's layers go around FastAPI's own stack, from the outside in:
    Observe > HotPaths > Guards > FastAPI.

    Raises:
        ConfigurationError: A feature has no router.
    """

    engine_routers: ClassVar[tuple[APIRouter, ...]] = (ops.router, lab.router)

    def __init__(
        self,
        settings: Settings,
        *,
        features: Sequence["Feature"] = (),
        title: str = "Brigade",
        version: str = __version__,
        **options: Any,
    ) -> None:
        logs.configure(settings)
        # Metrics are Prometheus's, and logs go to stdout.
        telemetry = TelemetryConfig(auto_configure=True, metrics=False, logs=False, exclude=_has_no_span)
        super().__init__(
            title=title,
            version=version,
            lifespan=_core,
            telemetry=telemetry,
            docs_url=None,  # docs_page has its own
            redoc_url=None,
            **options,
        )
        docs_page.install(self)
        self.settings = settings
        self.features = tuple(features)
        self.stats = WorkerStats()
        self.telemetry = True
        self.state.needs = Needs.of_all(getattr(feature, "needed", NEEDS_ALL) for feature in features)
        schema.expect(Path(file).parent for feature in features if (file := getattr(feature, "__file__", None)))
        problems.install(self)
        lab.offer_job()
        self._include([router_of(feature) for feature in features])

    def _include(self, routers: list[APIRouter]) -> None:
        """The features come first, because FastAPI tries one route after the other and machines ask rarely: their
        routes would cost each read a tenth. The engine's lifespans are still the first to begin and the last to end.
        """
        for router in (*self.engine_routers, *routers):
            self.include_router(router)
        engine = len(self.engine_routers)
        tried, own = self.router.routes, len(self.router.routes) - engine - len(routers)
        tried[own:] = [*tried[own + engine :], *tried[own : own + engine]]
        self.hot_routes = [route for router in routers for route in router.routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI asks OpenTelemetry about every request, a tenth of a hot answer, and prepares spans also for those that are
        not traced, which doubled a read. The start has the answer for all where nothing is traced, and one draw for each
        where something is.
        """
        if self.settings.root_path and "path" in scope:
            scope["path"] = without_prefix(scope["path"], self.settings.root_path)
        if scope["type"] != "http" or self.middleware_stack is None:
            if scope["type"] == "websocket":
                await self.websockets(scope, receive, send)
                return
            await super().__call__(scope, receive, send)
            return
        scope["app"] = self
        if not self.telemetry:
            await self.middleware_stack(scope, receive, send)
            return
        if is_probe(scope) or (span := tracing.not_drawn(scope)) is None:
            await super().__call__(scope, receive, send)
            return
        with trace.use_span(span):
            await self.middleware_stack(scope, receive, send)

    def _serves(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self.router.routes)

    def body_limit(self, scope: Scope) -> int:
        """Bytes that the body of this request may have, whatever prefix its path has come with."""
        path = without_prefix(scope["path"], self.settings.root_path)
        return self.limits.of({**scope, "path": path}).max_body_bytes

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            self.openapi_schema = document(self, super().openapi())
        return self.openapi_schema

    def build_middleware_stack(self) -> ASGIApp:
        settings = self.settings
        routes = list(iter_route_contexts(self.routes))
        self.router.routes.insert(0, DirectRoutes(routes))
        app: ASGIApp = Head(super().build_middleware_stack(), has_own=self._serves)
        if settings.root_path:
            app = WithRootPath(app, settings.root_path)
        default = Limits(settings.request_timeout_s, settings.max_body_bytes)
        self.limits = LimitsByRoute(routes, default)
        app = HotPaths(Guards(app, limits=self.limits, body_timeout_s=settings.body_timeout_s), self.hot_routes)
        pages = cors(app, settings.cors_origins) if settings.cors_origins else None
        errors: dict[str, Any] = {"answer_error": pages.answer} if pages else {}
        worker = f"{socket.gethostname()}:{os.getpid()}" if settings.expose_worker else None
        self.websockets = WebSockets(super().__call__, routes, settings, worker)
        observe = Observe(pages or app, stats=self.stats, worker=worker, sample=settings.access_log_sample, **errors)
        self.shortcuts = Shortcuts(
            app, observe, trusted_proxies=settings.proxies_as_seen, cors=bool(settings.cors_origins)
        )
        return observe


def _has_no_span(scope: MutableMapping[str, Any]) -> bool:
    """Whether FastAPI is to make no spans. The engine makes those of WebSockets."""
    return scope["type"] == "websocket" or is_probe(scope)


def router_of(feature: Feature) -> APIRouter:
    router = getattr(feature, "router", None)
    if not isinstance(router, APIRouter):
        raise ConfigurationError(
            f"The feature {getattr(feature, '__name__', feature)} has no `router`: give its __init__.py an APIRouter."
        )
    return router


@asynccontextmanager
async def _core(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    assert isinstance(app, Brigade)
    app.middleware_stack = app.middleware_stack or app.build_middleware_stack()
    plan = make_plan(app.settings, read_limits())
    app.telemetry = app._native_telemetry.enabled()
    with logs.written_by_thread():
        async with tracing.exported(on=app.telemetry), open_resources(app.settings, plan, app.stats) as resources:
            app.state.resources = resources
            rate = app.settings.rate_limit
            app.state.allowance = Allowance(resources.cache, rate) if rate else None
            yield {
                "service.has_websocket": app.websockets.has if app.websockets.paths else None,
                "service.shortcuts": app.shortcuts,
                "service.probe_paths": PROBE_PATHS,
                "service.serving": resources.loop_watch.watch,
                "service.max_body_bytes": app.limits.max_body_bytes,
                "service.body_limit": app.body_limit,
            }
