"""Servers that a test calls: each counts what it sees, and answers, hangs or breaks off."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

Behave = Callable[["FakeHost", asyncio.StreamWriter], Awaitable[None]]
HEAD = "HTTP/1.1 {status} Any\r\nContent-Length: 2\r\n\r\nok"


class FakeHost:
    def __init__(self, behave: Behave) -> None:
        self.behave = behave
        self.connections = self.requests = 0
        self.heads: list[str] = []
        self.asked = asyncio.Event()
        self.left = asyncio.Event()
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
                self.requests += 1
                self.asked.set()
                answering = asyncio.ensure_future(self.behave(self, writer))
                if self.behave is hang:
                    await reader.read(1)  # until the client leaves
                    answering.cancel()
                    return
                await answering
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.left.set()
            writer.transport.abort()


def answers(status: int = 200, after_s: float = 0) -> Behave:
    async def behave(_: FakeHost, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(after_s)
        writer.write(HEAD.format(status=status).encode())

    return behave


def says(text: str, *, once: bool = False) -> Behave:
    """Send `text`, the first time alone if `once`, and close the connection if it is cut."""

    async def behave(host: FakeHost, writer: asyncio.StreamWriter) -> None:
        writer.write((text if host.requests == 1 or not once else HEAD.format(status=200)).encode("latin-1"))
        await writer.drain()
        if once and host.requests == 1:
            writer.close()

    return behave


async def hang(_: FakeHost, __: asyncio.StreamWriter) -> None:
    await asyncio.Event().wait()


async def break_off(_: FakeHost, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()
    raise ConnectionResetError


@asynccontextmanager
async def host(behave: Behave, tls: ssl.SSLContext | None = None) -> AsyncIterator[FakeHost]:
    found = FakeHost(behave)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=tls)
    found.url = f"http{'s' if tls else ''}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield found
    finally:
        server.close()
