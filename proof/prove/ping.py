"""A guest who only wants a glass of water: /livez, 200 times a second, from a generator process."""

import asyncio
import time
from contextlib import suppress

import uvloop

from proof.prove.connection import Address, connect, get
from proof.prove.meter import metered
from proof.prove.window import Tally

PING_EVERY_S = 0.005


def run_ping(address: Address, begin: float, end: float) -> Tally:
    return uvloop.run(_ping(address, begin, end))


async def _ping(address: Address, begin: float, end: float) -> Tally:
    tally = Tally()
    request = get("/livez", address.host)
    connection = await connect(address)
    async with metered(tally, begin, end):
        await asyncio.sleep(begin - time.monotonic())
        while (started := time.monotonic()) < end:
            with suppress(TimeoutError):
                async with asyncio.timeout(end - started):
                    await connection.ask(request)
            took_s = time.monotonic() - started
            tally.latencies_ms += _waits_ms(took_s)
            await asyncio.sleep(PING_EVERY_S - took_s % PING_EVERY_S)
    connection.transport.abort()
    return tally


def _waits_ms(took_s: float) -> list[float]:
    """Return the wait of this ping, and those of the pings that would have arrived meanwhile and been answered with it.

    Without them a second of frozen service would count once, and as little as one of the 200 good pings of the next.
    """
    missed = int(took_s / PING_EVERY_S)
    return [(took_s - PING_EVERY_S * number) * 1000 for number in range(missed + 1)]
