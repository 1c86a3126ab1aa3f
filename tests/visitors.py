"""Clients that follow links as fast as they are answered, over connections kept alive, and count the answers."""

import asyncio
from contextlib import suppress


class Visitors:
    def __init__(self, port: int, codes: list[str], *, visits: int) -> None:
        self.port = port
        self.codes = codes
        self.left = visits
        self.stopped = False
        self.answered = 0
        self.half_done = asyncio.Event()
        """Set when half of the visits have been answered."""
        self.broken = 0
        self._half = visits // 2

    async def follow(self, *, clients: int) -> None:
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            for _ in range(clients):
                group.create_task(self._visit())

    async def _visit(self) -> None:
        while self.left and not self.stopped:
            with suppress(OSError, asyncio.IncompleteReadError):
                await self._visit_over_one_connection()
                continue
            self.broken += 1
            await asyncio.sleep(0.01)

    async def _visit_over_one_connection(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            while self.left and not self.stopped:
                self.left -= 1
                code = self.codes[self.left % len(self.codes)]
                served = False
                try:
                    writer.write(f"GET /r/{code} HTTP/1.1\r\nHost: short.example\r\n\r\n".encode())
                    answer = await reader.readuntil(b"\r\n\r\n")
                    served = not answer.startswith(b"HTTP/1.1 503 ")
                finally:
                    self.left += not served
                if not served:
                    return  # the machine is short of CPU
                assert answer.startswith(b"HTTP/1.1 307 "), answer
                self.answered += 1
                if self.answered >= self._half:
                    self.half_done.set()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
