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

from brigade.server.lifecycle import State, roster
from brigade.server.rehearsal import rehearse
from brigade.server.server import Server
from brigade.settings import load_settings
from brigade.telemetry.scrape import count_exit, fold, wipe

EARLY_S = 10.0
"""A worker that dies sooner than this after its fork counts towards a crash loop."""
RECENT_S = 60.0
BACK_OFF_S = 0.25
BACK_OFF_MOST_S = 15.0

MOST_FILES = 65_536
"""A connection is a file, and many systems start a process with 1,024."""

CAUSES = {State.STARTING: "failed start", State.TOLD: "told", State.RELIEVED: "max requests"}


class Worker(UvicornWorker):  # type: ignore[misc]
    CONFIG_KWARGS: ClassVar[dict[str, Any]] = {
        "loop": "uvloop",
        "ws": "none",
        "lifespan": "on",
        "access_log": False,
        "server_header": False,
        "callback_notify": None,
    }
    _early_deaths: ClassVar[deque[float]] = deque(maxlen=16)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._forked_at = time.monotonic()
        roster[self.age] = State.STARTING

    def init_process(self) -> None:
        """Past the first start, a worker that cannot start must not be Gunicorn's reason to halt a healthy service: its
        exit status is then another than 3 and 4, and the workers of before a reload serve on.
        """
        self.notify()  # the heartbeat's file is born with the time of day, which never looks late
        _limit_process()
        try:
            super().init_process()
        except (Exception, SystemExit):
            if roster[self.age] is not State.STARTING or not roster.flags.has_served:
                raise
            self.log.exception("This worker cannot start.")
            sys.exit(1)

    def init_signals(self) -> None:
        super().init_signals()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the master's; a closing terminal sends it to every process
        faulthandler.enable()  # Gunicorn kills a blocked worker by SIGABRT: print where each thread is

    def load_wsgi(self) -> None:
        recent = sum(died > self._forked_at - RECENT_S for died in self._early_deaths)
        if recent > 1:
            wait_s = min(BACK_OFF_S * 2**recent, BACK_OFF_MOST_S, self.timeout)
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
        self.config.app = self.wsgi
        # Not Gunicorn's wrappers: uvloop would close them a second time, and they would complain.
        sockets, settings = [listener.sock for listener in self.sockets], load_settings()
        public = [each for each in sockets if each.getsockname()[1] != settings.ops_port]
        server = Server(self.config, settings, age=self.age, master=self.ppid, notify=self.notify)
        server.ops_port.listeners = [each for each in sockets if each not in public]
        signal.signal(signal.SIGQUIT, server.handle_exit)
        await server.serve(sockets=public)

    def reaped(self, *, living: set[int]) -> bool:
        """For `child_exit`, in the master. Whether there is a worker too many now, as this one had asked for another."""
        state, now = roster[self.age], time.monotonic()
        roster[self.age] = State.GONE
        cause = "timeout" if self.aborted else CAUSES.get(state, "died")
        level = logging.INFO if cause in {"told", "max requests"} else logging.ERROR
        self.log.log(level, "Worker %d ended: %s.", self.pid, cause)
        try:
            count_exit(cause)
            fold(living=living)
        except Exception:  # a full disk, say: the next death folds the files of both
            self.log.exception("The metrics of worker %d stay in files of their own.", self.pid)
        if state in {State.STARTING, State.READY} and now < self._forked_at + EARLY_S:
            self._early_deaths.append(now)
        return state is State.RELIEVED

    @staticmethod
    def attach(arbiter: Any, *, delay_s: float = 0.0) -> None:
        """For `when_ready`, in the master: Gunicorn has a hook neither before a stop nor before a reload."""
        wipe()
        stop, reload = arbiter.stop, arbiter.handle_hup

        def announced_stop(graceful: bool = True) -> None:
            roster.flags.stopping = True
            if graceful:
                time.sleep(delay_s)
            stop(graceful)

        def rehearsed_reload() -> None:
            if roster.flags.rehearsed:
                roster.flags.rehearsed = False
                reload()
            else:
                rehearse(arbiter)

        arbiter.stop, arbiter.handle_hup = announced_stop, rehearsed_reload


def _limit_process() -> None:
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if most == resource.RLIM_INFINITY else min(most, MOST_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), most))
    most = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (int(most != 0), most))  # 1, unlike 0, also keeps a core from a pipe
