"""Gunicorn's master, which looks after its workers also while it reloads, hands over and stops.

Gunicorn 27 waits in `reload` until the last old worker has gone, up to GRACEFUL_TIMEOUT_S. Meanwhile it would replace no
worker that dies, kill none that is blocked, and handle no signal. The master must not import the application.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gunicorn.arbiter import Arbiter

from brigade.server.lifecycle import STAYING, State, roster
from brigade.server.rehearsal import Rehearsal
from brigade.server.service_manager import ServiceManager
from brigade.settings import Settings
from brigade.telemetry.log_throttle import LogThrottle


class _OldWorkersLeave(Exception):
    """Ends Gunicorn's own wait for them."""


LOOKS_EVERY_S = 2.0
"""Seconds within which the master looks at its workers again, unless it stands still itself."""


class Master(Arbiter):  # type: ignore[misc]
    settings: Settings
    looked_s: float
    woke_s: float
    """When the master last found that it had stood still."""

    @classmethod
    def take_over(cls, arbiter: Arbiter, settings: Settings) -> None:
        """Become the master, in `on_starting`, because Gunicorn has no setting for the class of its master."""
        arbiter.__class__ = cls
        arbiter.settings = settings
        arbiter.rehearsal = Rehearsal(arbiter)
        arbiter.service_manager = ServiceManager()
        arbiter.reload_is_due = False
        arbiter.looked_s, arbiter.woke_s = time.monotonic(), float("-inf")
        arbiter.throttle = LogThrottle()
        signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the parent's is no concern of ours

    @property
    def has_predecessor(self) -> bool:
        """SIGUSR2 started this master, and the one that was asked has not gone yet."""
        return bool(self.master_pid) and os.getppid() == self.master_pid

    def handle_hup(self) -> None:
        """Reload once a rehearsal has shown that new workers start; one at a time, so that no more than two generations of
        workers share the connections to Postgres.
        """
        if self.rehearsal.running or self._drains():
            self.reload_is_due = True
        else:
            self.reload_is_due = False
            self.service_manager.reloading()
            try:
                self.rehearsal.start()
            except OSError as error:  # no room for a process
                self.log.error("Not reloaded, the workers serve on as they are: %s", error)  # noqa: TRY400
                self.service_manager.ready()

    def _drains(self) -> bool:
        return any(worker.told and roster[worker.slot].drains for worker in self.WORKERS.values())

    def reload(self) -> None:
        with self._without_waiting():
            super().reload()

    @contextmanager
    def _without_waiting(self) -> Iterator[None]:
        """Skip the wait for old workers in `reload`. Only that wait calls `reap_workers` there."""

        def stop_waiting() -> None:
            raise _OldWorkersLeave

        self.reap_workers = stop_waiting
        try:
            yield
        except _OldWorkersLeave:
            pass
        finally:
            del self.reap_workers

    def manage_workers(self) -> None:
        """Start as many workers as are missing and ask the oldest to go where there are too many, once. In Gunicorn's own
        version a worker that leaves still counts, so nothing would take the place of a successor that dies.
        """
        staying = sorted(
            (worker for worker in self.WORKERS.values() if self._stays(worker)), key=lambda worker: worker.age
        )
        for worker in staying[: max(0, len(staying) - self.num_workers)]:
            self.kill_worker(worker.pid, signal.SIGTERM)
        for _ in range(self.num_workers - len(staying)):
            self.spawn_worker()
        self._follow_up()

    def spawn_worker(self) -> Any:
        """A signal that comes right after the fork must find the worker's own handlers: Gunicorn's would put it in a queue
        that nobody reads. `init_signals` unblocks signals in the worker.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, self.SIGNALS)
        try:
            return super().spawn_worker()
        except OSError as error:  # no room for a process; Gunicorn would end the service
            roster.forget(self.worker_age)
            if self.throttle.admit("spawn") is not None:
                self.log.error("A worker cannot be started, and is tried again each second: %s", error)  # noqa: TRY400
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self.SIGNALS)

    def murder_workers(self) -> None:
        """Kill the workers that are blocked. Where everything has stood still, as under `docker pause` or in a suspended
        machine, they have their time again first: the master may be the first to go on.
        """
        now_s, before_s = time.monotonic(), self.looked_s
        self.looked_s = now_s
        if now_s - before_s > max(self.timeout / 2, LOOKS_EVERY_S):
            self.woke_s = now_s
        if now_s - self.woke_s > self.timeout:
            super().murder_workers()

    @staticmethod
    def _stays(worker: Any) -> bool:
        return not worker.told and roster.state(worker.slot) in STAYING

    def _follow_up(self) -> None:
        """Do what has waited for workers or for the rehearsal."""
        if (starts := self.rehearsal.result()) is not None:
            if starts:
                self.reload()
            else:
                self.service_manager.ready()
        if self.reload_is_due and not self._drains():
            self.handle_hup()
        states = [roster.state(worker.slot) for worker in self.WORKERS.values() if self._stays(worker)]
        if not self.rehearsal.running and set(states) == {State.READY}:
            self.service_manager.ready()

    def kill_worker(self, pid: int, sig: int) -> None:
        if pid in self.WORKERS and sig in {signal.SIGTERM, signal.SIGQUIT}:
            self.WORKERS[pid].told = True
        super().kill_worker(pid, sig)

    def reexec(self) -> None:
        self.service_manager.hand_down(self.cfg.env_orig)
        try:
            super().reexec()
        except OSError as error:  # no room for a process, or the folder of the start is gone
            self.log.error("There is no new master: %s", error)  # noqa: TRY400
            if os.getpid() != self.pid:  # the child would go on as a second master, of the same workers
                os._exit(1)

    def stop(self, graceful: bool = True) -> None:
        """Gunicorn calls this a second time after SIGINT and SIGQUIT, when the workers have gone."""
        self.rehearsal.cancel()
        self.reload_is_due = False
        if self.reexec_pid or self.has_predecessor:  # another master serves on, on the same port
            self.service_manager.handed_over(self.reexec_pid)
        elif not roster.flags.draining:
            roster.flags.draining = True
            self.service_manager.stopping()
            graceful = graceful and self._wait_for_proxies()
        roster.flags.stopping = True
        super().stop(graceful)

    def _wait_for_proxies(self) -> bool:
        """Serve on for STOP_DELAY_S, while `/readyz` says 503. Return False where SIGINT or SIGQUIT cuts that short."""
        until = time.monotonic() + (self.settings.stop_delay_s if roster.flags.has_served else 0)
        while (left_s := until - time.monotonic()) > 0:
            if {signal.SIGINT, signal.SIGQUIT} & set(self.wait_for_signals(timeout=min(left_s, 1.0))):
                return False
            self.reap_workers()
            self.murder_workers()
            self.manage_workers()
        return True
