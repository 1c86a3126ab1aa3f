"""A start to throw away: before a reload, a process that nobody relies on does once what the new workers will do.

The master imports this, so it must not import the application.
"""

import asyncio
import faulthandler
import os
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import uvloop

from brigade.server.lifecycle import roster
from brigade.settings import ConfigurationError

SCOPE = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
SENTENCES = {"ConfigurationError", "SystemExit"}
"""Refusals that need no traceback. By name: the rehearsal imports the class anew."""


def rehearse(arbiter: Any) -> None:
    """In the master: a child of it starts and ends the application, and sends SIGHUP once more where that went well.

    The master looks after its workers meanwhile. What it could not use would have ended it, or told the old workers to
    go before the new ones are known to come.
    """
    sys.stderr.flush()
    master = os.getpid()
    if os.fork():
        return
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    for listener in arbiter.LISTENERS:
        listener.sock.close()  # a stopping master must be the last that has it
    refuse = partial(arbiter.log.error, "Not reloaded, the workers serve on as they are: %s")
    try:
        with _bounded(arbiter.timeout, refuse), tempfile.TemporaryDirectory() as folder:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # it is no worker that anybody should count
            _rehearse(arbiter)
    except BaseException as error:  # noqa: BLE001 - whatever it is, a worker would end by it
        if type(error).__name__ in SENTENCES:
            refuse(error)
        else:
            traceback.print_exc()
            refuse(f"{type(error).__name__}: {error}")
    else:
        if os.getppid() == master:
            roster.flags.rehearsed = True
            os.kill(master, signal.SIGHUP)
    sys.stderr.flush()
    os._exit(0)


def _rehearse(arbiter: Any) -> None:
    app, address = arbiter.app, arbiter.cfg.address
    app.reload()
    if app.cfg.address != address:  # the master would close its sockets, and end where it cannot have the others
        raise ConfigurationError("another HOST, PORT or OPS_PORT takes a restart.")
    _ = app.cfg.worker_class  # reading it imports it
    uvloop.run(start_and_end(app.wsgi()))


@contextmanager
def _bounded(seconds: float, give_up: Callable[[str], None]) -> Iterator[None]:
    def say_where() -> None:
        faulthandler.dump_traceback()
        give_up(f"a start takes longer than WORKER_TIMEOUT_S, {seconds:g} s.")
        os._exit(0)

    timer = threading.Timer(seconds, say_where)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


async def start_and_end(app: Callable[..., Awaitable[None]]) -> None:
    """The lifespan of an ASGI application, with nothing between its start and its end.

    Raises: what the application raises.
    """
    heard: asyncio.Queue[dict[str, str]] = asyncio.Queue()
    said: asyncio.Queue[dict[str, str]] = asyncio.Queue()

    async def live() -> None:
        await app({**SCOPE, "state": {}}, heard.get, said.put)

    life = asyncio.create_task(live())
    for stage in ("startup", "shutdown"):
        heard.put_nowait({"type": f"lifespan.{stage}"})
        answer = asyncio.create_task(said.get())
        await asyncio.wait({answer, life}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done() or answer.result()["type"] != f"lifespan.{stage}.complete":
            answer.cancel()
            await life
            raise RuntimeError(f"The application ended its {stage} without a word.")
    await life
