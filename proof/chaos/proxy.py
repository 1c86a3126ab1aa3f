"""A TCP proxy that fails when told to: what a network does to a backend, where the backend itself is well."""

import asyncio


class Proxy:
    def __init__(self, target: int) -> None:
        self.target = target
        self.delay_s = 0.0
        """How much later what the backend says arrives."""
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def open(self) -> None:
        """Listen, again on the same port after `refuse`."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def silence(self) -> None:
        """Take connections and bytes, and pass nothing on: a cable is out. What was on its way arrives when `heal` comes."""
        self._flows.clear()

    def reset(self) -> None:
        """End every connection there is."""
        for writer in self._writers:
            writer.transport.abort()

    def refuse(self) -> None:
        """Close all connections and accept no other."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.reset()

    async def heal(self) -> None:
        self.delay_s = 0.0
        self._flows.set()
        await self.open()

    async def close(self) -> None:
        self._flows.set()
        self.refuse()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._flows.wait()
            beyond_reader, beyond_writer = await asyncio.open_connection("127.0.0.1", self.target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(beyond_writer)
        await asyncio.gather(self._pump(reader, beyond_writer), self._pump(beyond_reader, writer, late=True))
        self._writers -= {writer, beyond_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, late: bool = False) -> None:
        try:
            while data := await reader.read(65536):
                await self._flows.wait()
                if late and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            await self._flows.wait()  # of a silent one, not even the end is heard
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()
