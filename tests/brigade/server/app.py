"""A small ASGI application that does what the tests of the worker class need done. `MISCHIEF` makes its start-up fail."""

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from weakref import WeakSet

from brigade.server.lifecycle import lifecycle
from brigade.server.protocol import Protocol

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


last_path: ContextVar[str] = ContextVar("last_path", default="")
"""Of the request that somebody works for."""

last_tasks: list[asyncio.Task[None]] = []

LARGE_PARTS = 1000
LARGE_PART_BYTES = 30_000
BLOCK_BYTES = 8_000_000


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        scope["state"] |= {"service.shortcuts": Shortcuts(), "service.probe_paths": frozenset({"/livez", "/probe"})}
        await _live(receive, send)
    elif scope["path"] == "/remembered":
        await _count_remembered(send)
    elif scope["path"] == "/cycle":
        await _leave_garbage(send)
    else:
        await _answer(scope, receive, send)


class Shortcuts:
    """`/short` is answered without a task after `s` seconds, and `/shy` by the application after all; `/uncounted` by
    neither, as the one fails and so does the other.
    """

    def begin(self, scope: dict[str, Any], finish: Callable[[dict[str, Any] | None], bool]) -> bool:
        if not self.lead_to(scope["path"]):
            return False
        asyncio.get_running_loop().call_later(_seconds(scope), self._end, scope, finish)
        return True

    @staticmethod
    def _end(scope: dict[str, Any], finish: Callable[[dict[str, Any] | None], bool]) -> None:
        headers = [(b"content-length", b"5"), (b"worked-for", last_path.get().encode())]
        short = {"status": 200, "headers": headers, "body": b"short", "before": []}
        try:
            finish({"/short": short, "/Loud": short, "/uncounted": _whole(scope)}.get(scope["path"]))
        except ZeroDivisionError:
            finish(None)

    def lead_to(self, path: str) -> bool:
        return path in {"/short", "/Loud", "/shy", "/uncounted"}


def _seconds(scope: dict[str, Any]) -> float:
    return float(parse_qs(scope["query_string"].decode()).get("s", ["0"])[0])


def _whole(scope: dict[str, Any]) -> dict[str, Any]:
    value = b"a\r\nb: c" if _seconds(scope) else b"a"
    before = [lambda: 1 // 0] if scope["path"] == "/uncounted" else []
    return {"status": 200, "headers": [(b"content-length", b"5"), (b"a", value)], "body": b"whole", "before": before}


class Cycle:
    """Large, and found by the garbage collector alone."""

    def __init__(self) -> None:
        self.data, self.itself = bytes(250_000), self


_cycles: "WeakSet[Cycle]" = WeakSet()


async def _leave_garbage(send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"%d" % len(_cycles))]})
    await send({"type": "http.response.body", "body": b""})
    _cycles.add(Cycle())


async def _count_remembered(send: Send) -> None:
    """Connections that are open, and those that wait for the garbage collector."""
    remembered = sum(isinstance(thing, Protocol) for thing in gc.get_objects())
    await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"%d" % remembered)]})
    await send({"type": "http.response.body", "body": b""})


async def _answer(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    seconds, other = _seconds(scope), last_path.get()
    last_path.set(scope["path"])
    match scope["path"]:
        case "/sleep" | "/probe":
            await asyncio.sleep(seconds)
        case "/block":
            _block(seconds)
        case "/stubborn":
            await _sleep_whatever_comes(seconds)
        case "/failing-task":
            last_tasks.append(asyncio.create_task(_fail(scope["query_string"])))
        case "/read":
            while (await receive()).get("more_body"):
                pass
        case "/whole" | "/uncounted":
            await scope["extensions"]["service.answer"](_whole(scope))
            return
        case "/stream" | "/block-of-bytes" | "/bad-header" | "/large":
            await _answer_at_length(scope, send, seconds)
            return
    client = scope["client"][0] if scope["client"] else ""
    headers = ",".join(name.decode() for name, _ in scope["headers"])
    body = f"{os.getpid()} {lifecycle.draining} {client} {headers}".encode()
    host = b"".join(value for name, value in scope["headers"] if name == b"host")
    asked_for = b"%s %s %s" % (host, scope["path"].encode(), scope["query_string"])
    head = [(b"content-length", str(len(body)).encode()), (b"worked-for", other.encode()), (b"asked-for", asked_for)]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": body})
    if scope["path"] == "/failing-after":
        await asyncio.sleep(0.1)
        await _fail(scope["query_string"])


async def _fail(how: bytes) -> None:
    raise {b"exit": SystemExit(3), b"interrupt": KeyboardInterrupt(), b"error": ZeroDivisionError()}[how]


async def _answer_at_length(scope: dict[str, Any], send: Send, seconds: float) -> None:
    match scope["path"]:
        case "/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"first", "more_body": True})
            await asyncio.sleep(seconds)
            await send({"type": "http.response.body", "body": b"last"})
        case "/block-of-bytes":
            await send(
                {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % BLOCK_BYTES)]}
            )
            await send({"type": "http.response.body", "body": bytes(BLOCK_BYTES)})
        case "/bad-header":
            scope["extensions"]["service.before_answer"](lambda: _note("counted"))
            await send({"type": "http.response.start", "status": 200, "headers": [(b"a", b"b\nc")]})
        case "/large":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            for _ in range(LARGE_PARTS):
                await send({"type": "http.response.body", "body": bytes(LARGE_PART_BYTES), "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def _block(seconds: float) -> None:
    time.sleep(seconds)


async def _sleep_whatever_comes(seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            await asyncio.sleep(until - time.monotonic())
        except asyncio.CancelledError:
            continue


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    _note("started")
    if _mischief() == "hang":
        await asyncio.sleep(600)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    _mischief()
    _note("ended")
    await send({"type": "lifespan.shutdown.complete"})


def _mischief() -> str:
    kind = Path(os.environ["MISCHIEF"]).read_text()
    match kind:
        case "block":
            time.sleep(600)
        case "fail":
            raise RuntimeError("no start today")
        case "fail after one life":  # of which the start is over now, and then the end
            Path(os.environ["MISCHIEF"]).write_text("fail after one end")
        case "fail after one end":
            Path(os.environ["MISCHIEF"]).write_text("fail")
        case "crash":
            os._exit(9)
    return kind


def _note(event: str) -> None:
    with Path(os.environ["EVENTS"]).open("a") as events:
        events.write(f"{event} {os.getpid()}\n")
