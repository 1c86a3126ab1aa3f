"""Bodies that take longer than an answer may, that nobody finishes, and that are larger than what requests may hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Annotated, Any

import pytest
import uvicorn
from fastapi import Body, FastAPI, Request
from structlog.testing import capture_logs
from uvicorn.server import ServerState

from brigade.server.admission import AdmittingProtocol, admission
from brigade.server.lifecycle import lifecycle
from brigade.server.memory import memory
from brigade.settings import Settings
from brigade.telemetry.metrics import WorkerStats
from brigade.web import problems
from brigade.web.guards import Guards
from brigade.web.limits import Limits, LimitsByRoute
from brigade.web.observe import Observe

PART = bytes(100_000)
LARGE = Settings(max_body_bytes=80 * 2**20, worker_memory_mb=32)

app = FastAPI()
problems.install(app)


@app.post("/stream")
async def stream(request: Request) -> int:
    return sum([len(part) async for part in request.stream()])


@app.post("/collect")
async def collect(body: Annotated[dict[str, str], Body()]) -> int:
    return len(body)


@app.post("/work")
async def work(request: Request) -> int:
    """Works on each part for longer than it may in all."""
    async for _ in request.stream():
        await asyncio.sleep(0.2)
    return 0


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[int]:
    guards = Guards(
        app,
        limits=LimitsByRoute((), Limits(settings.request_timeout_s, settings.max_body_bytes)),
        body_timeout_s=settings.body_timeout_s,
    )
    observe: Any = Observe(guards, stats=WorkerStats(), worker=None, sample=0)
    config, state = uvicorn.Config(observe, lifespan="off", log_config=None), ServerState()
    create = partial(AdmittingProtocol, config=config, server_state=state, app_state={}, settings=settings)
    server = await asyncio.get_running_loop().create_server(create, "127.0.0.1")
    yield server.sockets[0].getsockname()[1]
    server.close()
    async with asyncio.timeout(10):
        while state.connections or state.tasks:  # noqa: ASYNC110 - two sets of uvicorn's
            await asyncio.sleep(0.01)
    assert memory.held_bytes == admission.in_flight == lifecycle.connections == 0


async def upload(port: int, path: str, parts: int, *, length: int | None = None, pause_s: float = 0.0) -> bytes:
    """What is answered to so many parts, in a body that may be declared to be longer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    length = len(PART) * parts if length is None else length
    writer.write(b"POST %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" % path.encode())
    writer.write(b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length)
    for _ in range(parts):
        writer.write(PART)
        with suppress(ConnectionError):  # it was refused; the answer has come
            await writer.drain()
        await asyncio.sleep(pause_s)
    if len(PART) * parts < length and path != "/work":
        writer.close()
        return b""
    answer = await reader.read()
    writer.close()
    return answer


def run(settings: Settings, *uploads: Any) -> list[bytes]:
    async def main() -> list[bytes]:
        async with served(settings) as port:
            return list(await asyncio.gather(*(each(port) for each in uploads)))

    return asyncio.run(main())


@pytest.mark.parametrize("parts", [5, 30], ids=["collected", "streamed"])
def test_an_upload_may_take_longer_than_an_answer(parts: int) -> None:
    """It has `BODY_TIMEOUT_S`."""
    settings = LARGE.model_copy(update={"request_timeout_s": 0.3, "body_timeout_s": 20})
    (answer,) = run(settings, lambda port: upload(port, "/stream", parts, pause_s=0.9 / parts))
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"\r\n\r\n%d" % (parts * len(PART)))


def test_an_upload_does_not_give_its_handler_more_time() -> None:
    settings = LARGE.model_copy(update={"request_timeout_s": 0.3, "body_timeout_s": 20})
    (answer,) = run(settings, lambda port: upload(port, "/work", 30, pause_s=0.05))
    assert answer.startswith(b"HTTP/1.1 503")
    assert b"No answer within 0.3 s." in answer


def test_an_upload_that_stalls_is_refused() -> None:
    settings = LARGE.model_copy(update={"request_timeout_s": 20, "body_timeout_s": 0.5})
    (answer,) = run(settings, lambda port: upload(port, "/work", 20, length=60_000_000))
    assert answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 503"))
    assert b"\r\nconnection: close" in answer


@pytest.mark.parametrize("path", ["/stream", "/collect"])
@pytest.mark.parametrize("parts", [0, 2, 30])
def test_a_client_that_leaves_in_the_middle_of_an_upload_is_no_error(
    path: str, parts: int, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs:
        run(LARGE, lambda port: upload(port, path, parts, length=60_000_000))
    assert not [line for line in logs if line["log_level"] in {"warning", "error"}]
    assert not caplog.records


def test_what_is_streamed_takes_no_memory_from_others() -> None:
    """Three times 60 MB pass through, where all requests together may hold 8 MiB."""
    answers = run(LARGE, *[lambda port: upload(port, "/stream", 600)] * 3)
    assert [answer.split(b" ")[1] for answer in answers] == [b"200"] * 3
