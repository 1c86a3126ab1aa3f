"""Clients that hold WebSockets and event streams through faults, and connect again as the server asks them to."""

import asyncio
import base64
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

SERVICE_RESTART = 1012
BACK_S = (0.5, 2.5)
"""Seconds until a client whose WebSocket was closed connects again, a random number for each."""

Read = Callable[[asyncio.StreamReader], Awaitable[bool]]


class Held:
    def __init__(self, url: str, codes: Sequence[str], count: int) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._codes = codes
        self.count = count
        self.told = self.cut = self.refused = 0
        self.open = 0
        self.back: Counter[int] = Counter()
        """Clients that were back, by the second."""
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> "Held":
        """`count` of each kind are open."""
        for number in range(self.count):
            kinds = (self._hold_socket, self._hold_events)
            self._tasks += [asyncio.create_task(hold(random.choice(self._codes))) for hold in kinds]  # noqa: S311
            if number % 50 == 0:
                await asyncio.sleep(0.05)
        await self.all_open(30)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def all_open(self, within_s: float) -> bool:
        deadline = time.monotonic() + within_s
        while self.open < 2 * self.count and time.monotonic() < deadline:  # noqa: ASYNC110 - many set it
            await asyncio.sleep(0.05)
        return self.open == 2 * self.count

    @property
    def largest_share(self) -> float:
        """The largest part of all that came back in one second."""
        return max(self.back.values(), default=0) / max(1, self.back.total())

    async def _hold_socket(self, code: str) -> None:
        key = base64.b64encode(random.randbytes(16)).decode()  # noqa: S311
        upgrade = (
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        )
        while True:
            await self._hold(code, upgrade, self._read_frames)

    async def _hold_events(self, code: str) -> None:
        while True:
            await self._hold(code, "Accept: text/event-stream\r\n", self._read_events)

    async def _hold(self, code: str, fields: str, read: Read) -> None:
        writer: asyncio.StreamWriter | None = None
        is_open = told = False
        try:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            writer.write(f"GET /links/{code}/live HTTP/1.1\r\nHost: chaos\r\n{fields}\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            is_open = head.split(b" ", 2)[1] in {b"101", b"200"}
            if is_open:
                self.open += 1
                self.back[int(time.monotonic())] += 1
                told = await read(reader)
        except (OSError, EOFError):
            pass
        finally:
            self.open -= is_open
            if writer is not None:
                writer.close()
        if is_open:
            self.told += told
            self.cut += not told
        else:
            self.refused += 1
        await asyncio.sleep(random.uniform(*BACK_S))  # noqa: S311

    @staticmethod
    async def _read_frames(reader: asyncio.StreamReader) -> bool:
        """Whether a close frame came that asks to connect again."""
        while True:
            head = await reader.readexactly(2)
            length = head[1]
            if length == 126:
                length = int.from_bytes(await reader.readexactly(2), "big")
            body = await reader.readexactly(length)
            if head[0] == 0x88:
                return int.from_bytes(body[:2], "big") == SERVICE_RESTART

    @staticmethod
    async def _read_events(reader: asyncio.StreamReader) -> bool:
        """Whether the stream ended as a whole, and its last words were a `retry:`."""
        last = b""
        while size := int(await reader.readline(), 16):
            last = await reader.readexactly(size + 2)
        with suppress(EOFError):
            await reader.readexactly(2)
        return last.startswith(b"retry: ")
