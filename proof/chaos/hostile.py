"""Clients that mean no good, on the bare port. Each is bounded here too, in connections and in seconds."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

from local.process import LocalError
from proof.chaos.stage import Stage

IDLE = 5000
AT_A_TIME = 200
HOLD_S = 4.0
"""Longer than the service lets a head or a body take here."""
LATEST_S = 10.0

HEAD = b"GET /livez HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /links HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"


async def ask_and_leave(port: int, path: str) -> None:
    with contextlib.suppress(OSError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
        await writer.drain()
        await asyncio.sleep(0.003)
        writer.transport.abort()


async def _let_go(port: int, *parts: bytes, every_s: float = 0.0, end: bool = False) -> None:
    """Send the parts, and wait until the service has had enough.

    Raises:
        LocalError: it never had.
    """
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(LATEST_S):
            with contextlib.suppress(OSError):
                for part in parts:
                    writer.write(part)
                    await writer.drain()
                    await asyncio.sleep(every_s)
                if end:
                    writer.write_eof()
                while await reader.read(1 << 20):
                    pass
    except TimeoutError:
        raise LocalError(f"The service still listened after {LATEST_S:g} s to {parts[0][:60]!r}") from None
    finally:
        writer.transport.abort()


async def _take_nothing(port: int) -> None:
    """Ask for much and read none of it, until the service closes the connection."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(HOLD_S):
            for _ in range(200):
                writer.write(b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n" * 100)
                await writer.drain()
    writer.transport.abort()


def _whole(body: bytes) -> bytes:
    return POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


NAMES = b"{" + b",".join(b'"k%d":1' % number for number in range(90_000)) + b"}"

Attack = Callable[[int], Awaitable[None]]

ATTACKS: dict[str, tuple[int, Attack]] = {
    "silent": (50, _let_go),
    "dripped head": (50, lambda port: _let_go(port, HEAD, *[b"A: b\r\n"] * 100, every_s=0.2)),
    "stalled body": (50, lambda port: _let_go(port, POST + b"Content-Length: 100\r\n\r\n", b"{")),
    "large bodies": (100, lambda port: _let_go(port, POST + b"Content-Length: 1000000\r\n\r\n", b"a" * 999_999)),
    "broken JSON": (20, lambda port: _let_go(port, _whole(b'{"url": "' + b"a" * 1_000_000))),
    "90,000 names": (4, lambda port: _let_go(port, _whole(NAMES))),
    "dripped body": (50, lambda port: _let_go(port, POST + b"Content-Length: 1000\r\n\r\n", *[b"a"] * 50, every_s=0.2)),
    "lying length": (20, lambda port: _let_go(port, POST + b"Content-Length: 1000\r\n\r\n{}", end=True)),
    "huge length": (20, lambda port: _let_go(port, POST + b"Content-Length: 99999999999\r\n\r\n", b"a" * 1_000_000)),
    "20 MB header": (4, lambda port: _let_go(port, HEAD + b"A: ", *[b"a" * 1_000_000] * 20)),
    "200,000 headers": (4, lambda port: _let_go(port, HEAD, *[b"A: b\r\n" * 10_000] * 20)),
    "large heads": (50, lambda port: _let_go(port, HEAD + b"A: " + b"a" * 30_000)),
    "1 MB URL": (10, lambda port: _let_go(port, b"GET /" + b"a" * 1_000_000)),
    "endless chunks": (
        3,
        lambda port: _let_go(port, POST + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1\r\na\r\n" * 10_000] * 200),
    ),
    "endless trailers": (
        4,
        lambda port: _let_go(port, POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", *[b"A: b\r\n" * 10_000] * 200),
    ),
    "pipelining flood": (10, lambda port: _let_go(port, (HEAD + b"\r\n") * 20_000)),
    "length and coding": (
        20,
        lambda port: _let_go(port, POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ),
    "bare line ends": (20, lambda port: _let_go(port, b"GET / HTTP/1.1\nHost: a\n\n")),
    "null bytes": (20, lambda port: _let_go(port, bytes(100_000))),
    "broken UTF-8": (20, lambda port: _let_go(port, b"GET /links/\xc3\x28 HTTP/1.1\r\nHost: a\r\n\r\n")),
    "half-closed": (50, lambda port: _let_go(port, HEAD + b"\r\n", end=True)),
    "reads nothing": (10, _take_nothing),
}


async def attack(stage: Stage) -> None:
    """All of them at the same time."""
    await asyncio.gather(*[kind(stage.port) for count, kind in ATTACKS.values() for _ in range(count)])


async def stay_idle(stage: Stage) -> None:
    """Open as many connections as the largest service would see in a bad hour. They send nothing, and are closed."""
    held: list[asyncio.StreamWriter] = []
    readers: list[asyncio.StreamReader] = []
    for _ in range(IDLE // AT_A_TIME):
        for reader, writer in await asyncio.gather(
            *[asyncio.open_connection("127.0.0.1", stage.port) for _ in range(AT_A_TIME)]
        ):
            held.append(writer)
            readers.append(reader)
    try:
        async with asyncio.timeout(LATEST_S + HOLD_S):
            await asyncio.gather(*[reader.read() for reader in readers], return_exceptions=True)
    except TimeoutError:
        raise LocalError(f"Of {IDLE} idle connections some were still open after {LATEST_S + HOLD_S:g} s.") from None
    finally:
        for writer in held:
            writer.transport.abort()


async def cancel_a_thousand(stage: Stage) -> None:
    """Clients that ask and are gone before the answer; whatever they held must come back."""
    requests = [f"/links?limit={1 + number % 20}" for number in range(1000)]
    for start in range(0, len(requests), 50):
        await asyncio.gather(*[ask_and_leave(stage.port, path) for path in requests[start : start + 50]])

    def nobody_holds_one() -> bool:
        return all(worker["db_pool"]["in_use"] <= 1 for worker in stage.state()["workers"])

    await stage.until(nobody_holds_one, "rid of what cancelled requests held", within_s=10)
