"""Before a reload, a process that nobody relies on starts and ends once what the new workers will start.

The master imports this, so it must not import the application.
"""

import asyncio
import contextlib
import faulthandler
import os
import select
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

from brigade.server.lifecycle import lifecycle
from brigade.settings import ConfigurationError

SCOPE = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}}
SENTENCES = {"ConfigurationError", "SystemExit"}
"""Refusals that need no traceback. By name, because the rehearsal imports their class again."""
SIGNALS = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD)
STARTS = b"1"


class Rehearsal:
    """A child of the master, which looks after its workers meanwhile. A configuration that cannot be used would end the
    master, or make it ask the old workers to go before the new ones are known to start.
    """

    def __init__(self, arbiter: Any) -> None:
        self._arbiter = arbiter
        self._pid = self._reader = -1

    @property
    def running(self) -> bool:
        return self._reader >= 0

    def start(self) -> None:
        """Start it.

        Raises:
            OSError: there is no room for a process.
        """
        sys.stderr.flush()
        reader, writer = os.pipe()
        try:
            pid = os.fork()
        except OSError:
            os.close(reader)
            os.close(writer)
            raise
        if pid == 0:
            os.close(reader)
            _play(self._arbiter, writer)
        os.close(writer)
        self._pid, self._reader = pid, reader

    def result(self) -> bool | None:
        """Whether new workers would start; None while nobody knows. The end of the child wakes the master to ask this."""
        if not self.running or not select.select([self._reader], [], [], 0)[0]:
            return None
        starts = os.read(self._reader, 1) == STARTS
        self._forget()
        return starts

    def cancel(self) -> None:
        if self.running and self.result() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._forget()

    def _forget(self) -> None:
        os.close(self._reader)
        self._pid = self._reader = -1


def _play(arbiter: Any, writer: int) -> None:
    """Never returns."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    for listener in arbiter.LISTENERS:
        listener.sock.close()  # a stopping master must be the last that has it
    refuse = partial(arbiter.log.error, "Not reloaded, the workers serve on as they are: %s")
    try:
        with _bounded(arbiter.timeout, refuse), tempfile.TemporaryDirectory() as folder:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # nobody should count this process as a worker
            _rehearse(arbiter)
        os.write(writer, STARTS)
    except BrokenPipeError:
        pass  # the master has gone
    except BaseException as error:  # noqa: BLE001 - whatever it is, a worker would end by it
        if type(error).__name__ in SENTENCES:
            refuse(error)
        else:
            traceback.print_exc()
            refuse(f"{type(error).__name__}: {error}")
    sys.stderr.flush()
    os._exit(0)


def _rehearse(arbiter: Any) -> None:
    app, address = arbiter.app, arbiter.cfg.address
    app.reload()
    if app.cfg.address != address:  # the master would close its sockets, and end where it cannot have the others
        raise ConfigurationError("another HOST, PORT or OPS_PORT takes a restart.")
    if app.cfg.worker_class_str != arbiter.cfg.worker_class_str:  # the master is made for one of them
        raise ConfigurationError("another SERVER takes a restart.")
    _ = app.cfg.worker_class  # reading it imports it
    app.cfg.post_fork(arbiter, None)
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
    lifecycle.rehearsing = True
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
