"""The application inside this process, asked as `brigade.server.protocol` asks it: by a shortcut, where it has one."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brigade.web.hot import deliver
from tests.bare import Bare


def as_served(service: Bare, state: Mapping[str, Any] | None) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope = {**scope, "state": dict(state or {})}
        ended: asyncio.Future[Message | None] = asyncio.get_running_loop().create_future()

        def finish(message: Message | None) -> bool:
            ended.set_result(message)
            return True

        if scope["type"] == "http" and service.shortcuts.begin(scope, finish) and (message := await ended):
            await deliver(scope, send, message, lambda: None)
        else:
            await service(scope, receive, send)

    return app
