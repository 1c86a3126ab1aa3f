"""`make run`: servers, then schema, then service; and the same in reverse. What is served is the service's business."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from local.notice import announce, is_ready, say
from local.places import LOCAL, PACKAGE, ROOT, RUN_LOCK, RUNNING
from local.process import check_port, exclusive, spawn, terminate
from local.server import Server
from local.servers import Postgres, Valkey
from local.variables import address, environment, is_set, stop_timeout_s

# For what an earlier run left.
LEFTOVER_TIMEOUT_S = 40.0
RUNNER_PAUSE_S = 2.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Mode:
    """How `make run` and `make dev` differ."""

    defaults: Mapping[str, str] = field(default_factory=dict)
    stdin: int | None = subprocess.DEVNULL
    stop_timeout_s: float | None = None
    ready: Callable[[subprocess.Popen[bytes], ExitStack], None] = lambda _service, _stack: None


class Stop(Exception):
    """Raised wherever the main thread happens to be, by the first signal that ends a run."""


def run(mode: Mode = Mode()) -> int:
    """The exit code: 0 where somebody wanted the end, the service's own where it ended by itself."""
    parent = os.getppid()  # at once, as it may be killed while the servers start
    with suppress(Stop), ExitStack() as stack:
        _hear_signals()
        try:
            return _serve(stack, parent, mode)
        finally:
            _ignore_signals()  # whatever ends the run: what is left of it is the way out
    return 0


def _serve(stack: ExitStack, parent: int, mode: Mode) -> int:
    started = time.monotonic()
    LOCAL.mkdir(exist_ok=True)
    stack.enter_context(exclusive(RUN_LOCK, busy="Brigade already runs from this folder: end that run first."))
    RUNNING.unlink(missing_ok=True)  # of a run that was killed: its process ids may be others' by now
    busy = "The service of an earlier run from this folder has not ended yet: wait for it, or kill it."
    lock = stack.enter_context(exclusive(LOCAL / "service.lock", wait_s=LEFTOVER_TIMEOUT_S, busy=busy))
    check_port(*address())
    variables = environment(mode.defaults)
    servers = _start_servers(stack, variables)
    migrated = _spawn(stack, "migrate", variables, lock, Mode()).wait()
    if migrated != 0:
        return migrated
    service = _spawn(stack, "run", variables, lock, mode)
    runner = Runner(lambda: _spawn(stack, "work", variables, lock, Mode()))
    _record(stack, service.pid, variables)
    return _watch(service, runner, servers, parent, lambda: _announce(started, service, stack, mode))


def _announce(started: float, service: subprocess.Popen[bytes], stack: ExitStack, mode: Mode) -> None:
    announce(time.monotonic() - started)
    mode.ready(service, stack)


def _start_servers(stack: ExitStack, variables: dict[str, str]) -> list[Server]:
    servers: dict[str, Server] = {"DATABASE_URL": Postgres(LOCAL / "postgres"), "REDIS_URL": Valkey(LOCAL / "valkey")}
    own = {name: server for name, server in servers.items() if not is_set(name)}
    for name, server in own.items():
        stack.callback(_stop, server)
        server.start()
        variables[name] = server.complete_url
        say(f"{server.name} is up, with its data in {server.data_dir.relative_to(ROOT)}.")
    return list(own.values())


def _spawn(stack: ExitStack, command: str, variables: dict[str, str], lock: int, mode: Mode) -> subprocess.Popen[bytes]:
    """Start a command of the service, whose processes hold the lock until the last has gone."""
    process = spawn(
        [sys.executable, "-m", PACKAGE, command], env=variables, cwd=ROOT, pass_fds=[lock], stdin=mode.stdin
    )
    stack.callback(terminate, process, within_s=mode.stop_timeout_s or stop_timeout_s())
    return process


class Runner:
    """The process that does the service's jobs, if it has any. It is started again when it ends, as `make reload` ends it."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._start = start
        self._process: subprocess.Popen[bytes] | None = None
        self._next_s = 0.0
        self.wanted = any((ROOT / PACKAGE / "features").glob("*/jobs.py"))

    def keep(self) -> None:
        if (
            self.wanted
            and time.monotonic() > self._next_s
            and (self._process is None or self._process.poll() is not None)
        ):
            self._process = self._start()
            self._next_s = time.monotonic() + RUNNER_PAUSE_S


def _record(stack: ExitStack, pid: int, variables: dict[str, str]) -> None:
    """Record the run for `make reload` and `make migrate`, in full or not at all. The addresses hold passwords."""
    addresses = {name: variables[name] for name in ("DATABASE_URL", "REDIS_URL") if name in variables}
    unfinished = RUNNING.with_suffix(".new")
    unfinished.touch(0o600)
    unfinished.write_text(json.dumps({"pid": pid, "addresses": addresses}))
    unfinished.rename(RUNNING)
    stack.callback(RUNNING.unlink, missing_ok=True)


def _watch(
    service: subprocess.Popen[bytes],
    runner: "Runner",
    servers: list[Server],
    parent: int,
    announce_ready: Callable[[], None],
) -> int:
    at_terminal, announced = os.isatty(0), False
    while (code := service.poll()) is None:
        # make was killed, or was told that the terminal was and kept it to itself: nobody is left to press Ctrl-C.
        if os.getppid() != parent or (at_terminal and not os.isatty(0)):
            return 0
        for server in servers:
            if not server.running:
                say(f"{server.name} has ended by itself: starting it again.")
                server.start()
        runner.keep()
        if not announced and (announced := is_ready()):
            announce_ready()
        time.sleep(0.1)
    return code


def _stop(server: Server) -> None:
    server.stop()
    say(f"{server.name} is down.")


def _hear_signals() -> None:
    """Ctrl-C, a plain kill, a closed terminal; the last not where nohup asked to outlive it."""

    def stop(*_: object) -> None:
        _ignore_signals()
        say("\nStopping: requests in progress are finished first.")
        raise Stop

    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stop)


def _ignore_signals() -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
