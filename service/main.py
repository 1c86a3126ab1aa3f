"""The composition root: which features there are, and how a request passes through the house."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.types import ASGIApp, Receive, Scope, Send

from brigade import __version__, errors, lab, ops
from brigade.resources import open_resources
from brigade.settings import Settings, load_settings
from brigade.sizing import make_plan, read_limits
from brigade.telemetry import logs, tracing
from brigade.telemetry.metrics import WorkerStats
from brigade.web import docs_page
from brigade.web.guards import Guards
from brigade.web.hot import HotPaths
from brigade.web.observe import Observe
from brigade.web.probes import PROBE_PATHS, is_probe
from brigade.web.rate_limit import Allowance
from brigade.web.shortcuts import Shortcuts

FEATURES: tuple[str, ...] = ("links",)


class Service(FastAPI):
    """FastAPI, with the layers of the house around its own stack: Observe > HotPaths > Guards > FastAPI."""

    def __init__(self, settings: Settings, routers: list[APIRouter]) -> None:
        # Metrics are Prometheus's, and logs go to stdout.
        telemetry = TelemetryConfig(auto_configure=True, metrics=False, logs=False, exclude=is_probe)
        super().__init__(
            title="Brigade",
            version=__version__,
            lifespan=_core,
            telemetry=telemetry,
            docs_url=None,  # docs_page has its own
            redoc_url=None,
        )
        docs_page.install(self)
        self.settings = settings
        self.stats = WorkerStats()
        self.telemetry = True
        errors.install(self)
        for router in routers:
            self.include_router(router)
        self.hot_routes = [route for router in routers for route in router.routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """FastAPI asks OpenTelemetry about every request, a tenth of a redirect; the start has the answer for all."""
        if self.telemetry or scope["type"] != "http" or self.middleware_stack is None:
            await super().__call__(scope, receive, send)
        else:
            scope["app"] = self
            await self.middleware_stack(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        settings = self.settings
        guards = Guards(
            super().build_middleware_stack(),
            max_body_bytes=settings.max_body_bytes,
            request_timeout_s=settings.request_timeout_s,
            body_timeout_s=settings.body_timeout_s,
        )
        worker = f"{socket.gethostname()}:{os.getpid()}" if settings.expose_worker else None
        paths = HotPaths(guards, self.hot_routes)
        observe = Observe(paths, stats=self.stats, worker=worker, sample=settings.access_log_sample)
        self.shortcuts = Shortcuts(paths, observe, forwarded_allow_ips=settings.forwarded_allow_ips)
        return observe


def create_app(settings: Settings | None = None) -> Service:
    settings = settings or load_settings()
    logs.configure(settings)
    routers: list[APIRouter] = [import_module(f"service.features.{name}").router for name in FEATURES]
    routers.append(lab.router)
    service = Service(settings, [ops.router, *routers])
    # FastAPI tries one after the other: before the features, what machines ask would cost each read a tenth. Its lifespan
    # stays the first to begin and the last to end.
    tried = service.router.routes
    tried.append(tried.pop(-1 - len(routers)))
    return service


@asynccontextmanager
async def _core(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
    assert isinstance(app, Service)
    app.middleware_stack = app.middleware_stack or app.build_middleware_stack()
    plan = make_plan(app.settings, read_limits())
    app.telemetry = app._native_telemetry.enabled()
    if app.telemetry:
        tracing.start()
    with logs.written_by_thread():
        async with open_resources(app.settings, plan, app.stats) as resources:
            app.state.resources = resources
            rate = app.settings.rate_limit
            app.state.allowance = Allowance(resources.cache, rate) if rate else None
            yield {"service.shortcuts": app.shortcuts, "service.probe_paths": PROBE_PATHS}
