"""More work than a worker can do at once: what is under way, who connects and who asks for its health go before it."""

import asyncio

from tests.brigade.server.conftest import Start

CROWD, CLIENTS = 100, 20
BLOCK = b"GET /block?s=0.01 HTTP/1.1\r\nHost: a\r\n\r\n"
SLEEP_THEN_BLOCK = b"GET /sleep?s=0.01 HTTP/1.1\r\nHost: a\r\n\r\n"
LIVEZ = b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def test_who_connects_and_asks_for_its_health_does_not_wait_for_the_crowd(start: Start) -> None:
    """Each turn of the loop begins some of a crowd's requests, and takes all that have connected."""
    gunicorn = start(1)

    async def ask(request: bytes) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", gunicorn.port)
        writer.write(request)
        assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        writer.close()

    async def count_answered() -> int:
        crowd = [asyncio.create_task(ask(BLOCK)) for _ in range(CROWD)]
        await asyncio.wait(crowd, return_when="FIRST_COMPLETED")
        await asyncio.gather(*[ask(LIVEZ) for _ in range(CLIENTS)])
        answered = sum(task.done() for task in crowd)
        await asyncio.gather(*crowd)
        return answered

    assert asyncio.run(count_answered()) < CROWD / 2
