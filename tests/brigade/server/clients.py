"""Clients that count what they lose, and a raw one that sends what no library would."""

import asyncio
import socket
import time
from collections import Counter
from dataclasses import dataclass, field

GET = b"GET %s HTTP/1.1\r\nHost: test\r\n\r\n"


@dataclass
class Tally:
    answered: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    lost: list[str] = field(default_factory=list)
    """Requests on an open connection that were not answered."""
    refused: list[str] = field(default_factory=list)
    """Connections that could not be made."""


class Load:
    """`clients` clients that ask again and again, each on new connections or on one that is kept."""

    def __init__(self, port: int, path: str, *, clients: int, keep: bool) -> None:
        self.port, self.path, self.clients, self.keep = port, path.encode(), clients, keep
        self.tally = Tally()
        self._stop = False

    async def __aenter__(self) -> Tally:
        self._tasks = [asyncio.create_task(self._ask_on()) for _ in range(self.clients)]
        return self.tally

    async def __aexit__(self, *_: object) -> None:
        self._stop = True
        await asyncio.wait_for(asyncio.gather(*self._tasks), 10)

    async def _ask_on(self) -> None:
        while not self._stop:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError as error:
                self.tally.refused.append(repr(error))
                await asyncio.sleep(0.01)
                continue
            connected = time.monotonic()
            try:
                await self._ask(reader, writer)
            except (OSError, EOFError) as error:
                self.tally.lost.append(f"{time.monotonic() - connected:.1f} s after it connected: {error!r}")

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while not self._stop:
                writer.write(GET % self.path)
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                await reader.readexactly(length)
                self.tally.answered += 1
                self.tally.statuses[int(head.split()[1])] += 1
                if not self.keep or b"\r\nconnection: close" in head.lower():
                    return
        finally:
            writer.close()


def exchange(port: int, *parts: bytes, pause_s: float = 0.0, end: bool = False, timeout_s: float = 10) -> bytes:
    """Send the parts with pauses between, and read until the server closes. `end` sends a FIN after the last."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as client:
        try:
            for part in parts:
                client.sendall(part)
                time.sleep(pause_s)
            if end:
                client.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent; the answer has come all the same
        received = b""
        while piece := client.recv(65536):
            received += piece
        return received


def ask(port: int, path: str) -> bytes:
    """One request, and all of the answer."""
    return exchange(port, b"GET %s HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n" % path.encode())
