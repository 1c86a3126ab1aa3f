"""What the worker class leans on inside uvicorn and Gunicorn, though neither promises it. An update that moves it fails
here with a sentence, before it fails in production without one.
"""

import hashlib
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

import pytest
import uvicorn
import uvicorn_worker
from gunicorn.arbiter import Arbiter
from gunicorn.sock import BaseSocket
from gunicorn.workers.base import Worker as GunicornWorker
from gunicorn.workers.workertmp import WorkerTmp
from uvicorn.lifespan.on import LifespanOn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from brigade.server.worker import Worker

RELIED_ON: dict[Callable[..., Any], tuple[str, str]] = {
    HttpToolsProtocol.connection_made: ("c8b2230c91b4", "it adds the connection to those that a drain waits for"),
    HttpToolsProtocol.connection_lost: ("1b99df458c3b", "it takes the connection out again and wakes the application"),
    HttpToolsProtocol._start_asgi_task: ("62f5730cb4eb", "every request passes through it when its turn has come"),
    RequestResponseCycle.__init__: ("f882611e893b", "ours sets the same attributes in its place"),
    RequestResponseCycle.send_500_response: ("c559132cadbc", "it answers in the place of what could not be sent"),
    RequestResponseCycle.run_asgi: (
        "0a5f7f242f6a",
        "after `disconnected` it writes nothing, whatever the application does",
    ),
    RequestResponseCycle.send: (
        "089bd8725f6a",
        "it uses write, close and is_closing of the transport, and closes when `keep_alive` is off",
    ),
    RequestResponseCycle.receive: (
        "e7a392a4367a",
        "it ends with http.disconnect when `disconnected` is set and the event is",
    ),
    FlowControl.resume_reading: ("3137b7d01378", "it may be called when reading is not paused"),
    uvicorn.Server._serve: (
        "39cc33f92b5f",
        "startup, main loop, shutdown, in this order, and no shutdown without startup",
    ),
    uvicorn.Server.startup: (
        "b912bccc00bb",
        "the sockets listen after the lifespan's start, and http_protocol_class may be any callable",
    ),
    uvicorn.Server.main_loop: ("c45ab2374086", "it ends when on_tick says so, and asks ten times a second"),
    uvicorn.Server.on_tick: ("1de91c48f24f", "it is true when should_exit is set or limit_max_requests is reached"),
    uvicorn.Server.shutdown: (
        "839636395b3d",
        "ours takes its place: stop listening, tell connections, wait, cancel, end the lifespan",
    ),
    uvicorn.Server.capture_signals: (
        "90b741862efc",
        "SIGINT and SIGTERM call handle_exit, and what that did not record is not raised again",
    ),
    LifespanOn.startup: ("c717c4596e03", "startup_failed silences it when it is cancelled"),
    LifespanOn.main: ("939d62a64833", "startup_failed silences it when it is cancelled"),
    uvicorn_worker.UvicornWorker.__init__: (
        "606f843eedab",
        "CONFIG_KWARGS has the last word on uvicorn's configuration",
    ),
    uvicorn_worker.UvicornWorker.init_signals: ("86667184283a", "it resets SIGABRT, so ours must come after"),
    uvicorn_worker.UvicornWorker.run: ("b12b7f3b9652", "it runs _serve on the loop that the configuration names"),
    uvicorn_worker.UvicornWorker._serve: ("35a45f2385b6", "ours takes its place"),
    GunicornWorker.init_process: ("e4ca00ea66b9", "signals, then load_wsgi, then run"),
    WorkerTmp.notify: ("e5e6e5b0733f", "it writes the monotonic clock, and the file's first time is the time of day"),
    Arbiter.run: ("eb2b3616dcb1", "after each signal, and once a second, it calls murder_workers and manage_workers"),
    Arbiter.start: ("245699c48012", "on_starting comes before the signal handlers and the first READY=1"),
    Arbiter.reexec: ("7276f96db15a", "the new master's environment is env_orig, and ours is its parent"),
    Arbiter.wait_for_signals: ("8f441b642731", "it returns what was queued, within the time given"),
    Arbiter.kill_worker: ("a393709648d9", "every signal to a worker goes through it"),
    Arbiter.halt: ("531a3277d4e9", "it stops by self.stop"),
    Arbiter.handle_int: ("340785aad604", "it stops by self.stop, in a hurry"),
    Arbiter.handle_ttin: ("f08441924e6c", "one worker more"),
    Arbiter.stop: (
        "f8ea1744b67a",
        "SIGTERM or SIGQUIT to the workers, SIGQUIT if asked again, SIGKILL after graceful_timeout",
    ),
    Arbiter.reload: (
        "49c375ffa9b0",
        "it forks new workers, calls manage_workers, and then nothing but reap_workers until the old ones have gone",
    ),
    Arbiter.murder_workers: ("80046c06d984", "SIGABRT to a worker whose file is older than the timeout, then SIGKILL"),
    Arbiter.reap_workers: (
        "714d04762b90",
        "exit status 3 or 4 halts the server; child_exit comes after the worker is off the books",
    ),
    Arbiter.manage_workers: (
        "1118cf5e8e5a",
        "a worker is forked only while there are too few; the oldest are told to go",
    ),
    Arbiter.spawn_worker: ("3c66fca9b884", "the worker is made in the master before the fork, with ages that rise"),
    BaseSocket.__init__: ("020bd83e343e", "`sock` is the plain socket"),
}


@pytest.mark.parametrize("relied_on", RELIED_ON, ids=lambda function: function.__qualname__)
def test_what_we_rely_on_has_not_moved(relied_on: Callable[..., Any]) -> None:
    recorded, reliance = RELIED_ON[relied_on]
    source = "".join(textwrap.dedent(inspect.getsource(relied_on)).split())
    found = hashlib.sha256(source.encode()).hexdigest()[:12]
    name = f"{relied_on.__module__}.{relied_on.__qualname__}"
    assert found == recorded, (
        f"{name} has changed. We rely on this: {reliance}. Read it, and record {found} if it still holds."
    )


def test_what_we_configure_is_known_to_uvicorn() -> None:
    assert Worker.CONFIG_KWARGS.keys() <= inspect.signature(uvicorn.Config).parameters.keys()


def test_first_start_that_fails_halts_by_these_statuses() -> None:
    assert (Arbiter.WORKER_BOOT_ERROR, Arbiter.APP_LOAD_ERROR) == (3, 4), "any other status must not halt the server"
