"""What one request may take: so many bytes of body, so many seconds. Pure ASGI, inside the access log.

Starlette's own body limit answers in plain text and outside all middleware, unseen by log and metrics.
"""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brigade.errors import ContentTooLarge, RequestTimeout, render
from brigade.headers import declared_bytes


class Guards:
    def __init__(self, app: ASGIApp, *, max_body_bytes: int, request_timeout_s: float) -> None:
        self.app = app
        self.max_body_bytes = max_body_bytes
        self.request_timeout_s = request_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if declared_bytes(scope["headers"]) > self.max_body_bytes:
            return await render(self._too_large())(scope, receive, send)
        deadline = asyncio.timeout(self.request_timeout_s)
        started = False
        received_bytes = 0

        async def receive_limited() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > self.max_body_bytes:
                raise self._too_large()
            return message

        async def send_started(message: Message) -> None:
            nonlocal started
            if not started:
                started = True
                deadline.reschedule(None)  # an answer that has begun, a stream say, may take its time
            await send(message)

        try:
            async with deadline:
                await self.app(scope, receive_limited, send_started)
        except TimeoutError:
            if started or not deadline.expired():
                raise
            await render(RequestTimeout(f"No answer within {self.request_timeout_s:g} s."))(scope, receive, send)

    def _too_large(self) -> ContentTooLarge:
        return ContentTooLarge(f"A body may have {self.max_body_bytes} bytes at most.", headers={"Connection": "close"})
