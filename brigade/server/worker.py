"""The Gunicorn worker class: uvicorn on uvloop, bounded from its start to its end.

The master imports this, so it must not import the application.
"""

import asyncio
import contextlib
import faulthandler
import logging
import resource
import signal
import sys
import time
from collections import deque
from typing import Any, ClassVar

from uvicorn_worker import UvicornWorker

from brigade.server.lifecycle import STAYING, State, roster
from brigade.server.proxies import ProxyHeaders
from brigade.server.server import Server
from brigade.settings import load_settings
from brigade.telemetry.scrape import count_exit, fold

EARLY_S = 10.0
"""A worker that dies sooner than this after its fork counts towards a crash loop."""
RECENT_S = 60.0
BACK_OFF_S = 0.25
MOST_BACK_OFF_S = 15.0

MOST_FILES = (65_536, 10_240)
"""A connection is a file, and many systems start a process with 1,024. macOS allows no more than OPEN_MAX, 10,240."""

CAUSES = {State.STARTING: "failed start", State.STOPPING: "told", State.RECYCLING: "max requests"}


class Worker(UvicornWorker):  # type: ignore[misc]
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "ws": "none",  # brigade.server.upgrade has them
        "ws_per_message_deflate": False,
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,  # brigade.server.proxies has them
        "interface": "asgi3",  # uvicorn takes an application that is no coroutine function for an old one
        "callback_notify": None,
    }
    _early_deaths: ClassVar[deque[float]] = deque(maxlen=16)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._forked_at = time.monotonic()
        self.slot = roster.enter(self.age)
        self.told = False
        """The master has asked it to leave."""

    def init_process(self) -> None:
        """Start the worker, and serve.

        After the first start of the service, a worker that cannot start or go on must not make Gunicorn halt it. Its exit
        status is then neither 3 nor 4, whatever a task says to `sys.exit`, and the other workers continue to serve.
        """
        self.notify()  # the heartbeat's file is born with the time of day, which never looks late
        _limit_process()
        try:
            super().init_process()
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            # Of a task: by KeyboardInterrupt this process would stop the service, as if it were the master.
            if not roster.flags.has_served and not isinstance(error, KeyboardInterrupt):
                raise
            self.log.exception("This worker cannot %s.", "start" if self._is_starting() else "go on")
            sys.exit(1)

    def _is_starting(self) -> bool:
        return roster.state(self.slot) is State.STARTING

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the master's; a closing terminal sends it to every process
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the master blocks signals while it forks
        faulthandler.enable()  # Gunicorn kills a blocked worker by SIGABRT: print where each thread is

    def load_wsgi(self) -> None:
        recent = sum(died > self._forked_at - RECENT_S for died in self._early_deaths)
        if recent > 1:
            wait_s = min(BACK_OFF_S * 2**recent, MOST_BACK_OFF_S, self.timeout)
            self.log.warning(
                "%d workers died within %g s of their start, for reasons logged above: the next waits %g s.",
                recent,
                EARLY_S,
                wait_s,
            )
            time.sleep(wait_s)
            self.notify()
        super().load_wsgi()

    def run(self) -> None:
        log = logging.getLogger("uvicorn.error")  # it has Gunicorn's handlers
        log.propagate = self.log.error_log.propagate
        log.setLevel(max(self.log.error_log.level, logging.WARNING))
        with contextlib.suppress(asyncio.CancelledError):  # told to stop before it had started
            super().run()

    async def _serve(self) -> None:
        self.config.app = ProxyHeaders(self.wsgi, self.cfg.forwarded_allow_ips)
        # Not Gunicorn's wrappers: uvloop would close them a second time, and they would complain.
        sockets, settings = [listener.sock for listener in self.sockets], load_settings()
        public = [each for each in sockets if each.getsockname()[1] != settings.ops_port]
        server = Server(self.config, settings, slot=self.slot, master=self.ppid, notify=self.notify)
        server.ops_port.listeners = [each for each in sockets if each not in public]
        signal.signal(signal.SIGQUIT, server.handle_exit)
        await server.serve(sockets=public)

    def reaped(self) -> None:
        """Note the end of the worker, in the master's `child_exit`."""
        state, now = roster.state(self.slot), time.monotonic()
        roster.set_state(self.slot, State.GONE)
        cause = "timeout" if self.aborted else "told" if self.told else CAUSES.get(state, "died")
        level = logging.INFO if cause in {"told", "max requests"} else logging.ERROR
        self.log.log(level, "Worker %d ended: %s.", self.pid, cause)
        try:
            count_exit(cause)
            fold()
        except Exception:  # a full disk, say: the next death folds the files of both
            self.log.exception("The metrics of worker %d stay in files of their own.", self.pid)
        if state in STAYING and not self.told and now < self._forked_at + EARLY_S:
            self._early_deaths.append(now)


def _limit_process() -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    for files in MOST_FILES:
        wanted = files if most == resource.RLIM_INFINITY else min(most, files)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), most))
            break
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (int(most != 0), most))  # 1, unlike 0, also keeps a core from a pipe
