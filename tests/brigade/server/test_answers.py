"""How the two messages of an answer reach the client: in one write where that is possible, and never half of it."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import uvloop
from uvicorn.server import ServerState

from brigade.server.admission import AdmittingProtocol
from brigade.settings import Settings

Send = Callable[[dict[str, Any]], Awaitable[None]]
App = Callable[[dict[str, Any], Callable[[], Awaitable[Any]], Send], Awaitable[None]]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
LENGTH = (b"content-length", b"5")


def head(*headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return {"type": "http.response.start", "status": 200, "headers": [*headers]}


def body(content: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": content, "more_body": more}


async def answer(scope: Any, receive: Any, send: Send) -> None:
    await send(head(LENGTH))
    await send(body(b"hello"))


class Server:
    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()

    def exchange(self, app: App, sent: bytes) -> bytes:
        return self.loop.run_until_complete(asyncio.wait_for(self._exchange(app, sent), 10))

    async def _exchange(self, app: App, sent: bytes) -> bytes:
        ours, theirs = socket.socketpair()
        state, config = ServerState(), uvicorn.Config(app, lifespan="off", access_log=False, log_config=None)
        await self.loop.create_connection(
            lambda: AdmittingProtocol(
                config=config, server_state=state, app_state={}, _loop=self.loop, settings=Settings()
            ),
            sock=ours,
        )
        reader, writer = await asyncio.open_connection(sock=theirs)
        writer.write(sent)
        received = await reader.read()
        writer.close()
        while state.connections or state.tasks:  # noqa: ASYNC110 - two sets of uvicorn's
            await asyncio.sleep(0.001)
        return received


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.loop.close()


def writes() -> int:
    """The calls of this thread that wrote, by the kernel's count."""
    fields = dict(line.split(": ") for line in Path("/proc/thread-self/io").read_text().splitlines())
    return int(fields["syscw"])


@pytest.mark.skipif(not Path("/proc/thread-self/io").exists(), reason="only Linux counts them")
def test_a_head_and_its_body_are_one_write(server: Server) -> None:
    server.exchange(answer, LAST)
    before = writes()
    assert server.exchange(answer, GET * 9 + LAST).count(b"\r\n\r\nhello") == 10
    assert writes() - before == 1 + 10  # the client's, and one for each answer


def test_the_head_of_a_stream_does_not_wait_for_its_body(server: Server) -> None:
    """It has no length. A browser that opens a stream of events waits for the head."""
    went_out: list[bool] = []

    async def app(scope: Any, receive: Any, send: Send) -> None:
        scope["extensions"]["service.before_answer"](lambda: went_out.append(True))
        await send(head())
        assert went_out
        await send(body(b"hello"))

    assert server.exchange(app, LAST).endswith(b"5\r\nhello\r\n0\r\n\r\n")


@pytest.mark.parametrize("ends", ["raises", "returns"])
def test_a_head_whose_body_never_comes_is_not_sent_and_not_counted(server: Server, ends: str) -> None:
    counted: list[bool] = []

    async def app(scope: Any, receive: Any, send: Send) -> None:
        scope["extensions"]["service.before_answer"](lambda: counted.append(True))
        await send(head(LENGTH))
        if ends == "raises":
            raise RuntimeError("the body")

    received = server.exchange(app, LAST)
    assert received.startswith(b"HTTP/1.1 500 ")
    assert received.count(b"HTTP/1.1") == 1
    assert not counted


@pytest.mark.parametrize("content", [b"hell", b"hello!"], ids=["short", "long"])
def test_a_body_of_another_length_ends_the_connection(server: Server, content: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        await send(head(LENGTH))
        await send(body(content))

    received = server.exchange(app, GET + LAST)
    assert received.count(b"HTTP/1.1") == 1
    assert len(received.partition(b"\r\n\r\n")[2]) < 5


@pytest.mark.parametrize("header", [(b"a", b"b\r\nc: d"), (b"a", b"\x00"), (b"a b", b"c"), (b"a:", b"b")])
def test_a_header_that_is_none_is_not_sent_with_a_body_either(server: Server, header: tuple[bytes, bytes]) -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        scope["extensions"]["service.before_answer"](lambda: None)
        await send(head(LENGTH, header))
        await send(body(b"hello"))

    assert server.exchange(app, LAST).startswith(b"HTTP/1.1 500 ")


def test_an_answer_that_asks_to_close_closes(server: Server) -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        await send(head(LENGTH, (b"Connection", b"close")))
        await send(body(b"hello"))

    received = server.exchange(app, GET + GET)
    assert received.endswith(b"\r\nconnection: close\r\n\r\nhello")
    assert received.count(b"HTTP/1.1") == 1


def test_a_task_that_listens_for_the_client_hears_the_end_of_the_answer(server: Server) -> None:
    async def app(scope: Any, receive: Any, send: Send) -> None:
        await receive()
        listening = asyncio.create_task(receive())
        await asyncio.sleep(0)
        await answer(scope, receive, send)
        assert await listening == {"type": "http.disconnect"}
        heard.append(True)

    heard: list[bool] = []
    server.exchange(app, LAST)
    assert heard
