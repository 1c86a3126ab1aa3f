"""Serves the same addresses below `ROOT_PATH`, whether the proxy in front takes that prefix off or leaves it on."""

from starlette.types import ASGIApp, Receive, Scope, Send

from brigade.telemetry.loop_watch.stacks import is_layer

is_layer(__file__)


def without_prefix(path: str, prefix: str) -> str:
    return path[len(prefix) :] or "/" if path == prefix or path.startswith(f"{prefix}/") else path


class WithRootPath:
    """Tells FastAPI the prefix, so that the addresses that it makes have it. ASGI's `path` includes `root_path`."""

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"}:
            return await self.app(scope, receive, send)
        path = scope["path"]
        scope["root_path"], scope["path"] = self.prefix, f"{self.prefix}{path}"
        try:
            await self.app(scope, receive, send)
        finally:
            scope["path"] = path  # the log tells of the path below the prefix, as health checks know it
