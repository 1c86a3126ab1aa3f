"""The master looks after its workers and hears its signals, also while old workers drain."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.brigade.server.clients import ask
from tests.brigade.server.conftest import ROOT, Gunicorn, Start
from tests.brigade.server.test_life import in_flight

LONG = {"GRACEFUL_TIMEOUT_S": "15", "REQUEST_TIMEOUT_S": "12"}


@pytest.fixture
def draining(start: Start, aside: ThreadPoolExecutor) -> Iterator[tuple[Gunicorn, int]]:
    """A service that was reloaded, and its old worker, which has a long request to finish."""
    gunicorn = start(**LONG)
    (old,) = gunicorn.worker_pids()
    answer = aside.submit(ask, gunicorn.port, "/sleep?s=10")
    gunicorn.until(lambda: in_flight(gunicorn))
    gunicorn.send(signal.SIGHUP)
    gunicorn.until(lambda: "Draining: 1 connections" in gunicorn.log() and len(gunicorn.events("started")) == 3)
    yield gunicorn, old
    answer.cancel()


def others(gunicorn: Gunicorn, old: int) -> set[int]:
    return gunicorn.worker_pids() - {old}


def test_successor_that_dies_is_replaced_while_the_old_worker_drains(draining: tuple[Gunicorn, int]) -> None:
    gunicorn, old = draining
    (new,) = others(gunicorn, old)
    os.kill(new, signal.SIGKILL)
    gunicorn.until(lambda: bool(others(gunicorn, old) - {new}) and gunicorn.serving())
    assert old in gunicorn.worker_pids()


def test_successor_that_is_blocked_is_killed_while_the_old_worker_drains(
    draining: tuple[Gunicorn, int], aside: ThreadPoolExecutor
) -> None:
    gunicorn, old = draining
    (new,) = others(gunicorn, old)
    aside.submit(ask, gunicorn.port, "/block?s=30")
    gunicorn.until(lambda: new not in gunicorn.worker_pids())
    assert old in gunicorn.worker_pids()


def test_number_of_workers_changes_while_an_old_worker_drains(draining: tuple[Gunicorn, int]) -> None:
    gunicorn, old = draining
    gunicorn.send(signal.SIGTTIN)
    gunicorn.until(lambda: len(others(gunicorn, old)) == 2)
    gunicorn.send(signal.SIGTTOU)
    gunicorn.until(lambda: len(others(gunicorn, old)) == 1)
    assert old in gunicorn.worker_pids()


def test_stop_is_heard_while_an_old_worker_drains(draining: tuple[Gunicorn, int]) -> None:
    gunicorn, old = draining
    (new,) = others(gunicorn, old)
    gunicorn.send(signal.SIGTERM)
    gunicorn.until(lambda: new not in gunicorn.worker_pids())
    assert old in gunicorn.worker_pids()
    assert gunicorn.ended() == 0


def test_second_reload_waits_for_the_workers_of_the_first(draining: tuple[Gunicorn, int]) -> None:
    """Two generations share the connections to Postgres; there is no room for a third."""
    gunicorn, old = draining
    (new,) = others(gunicorn, old)
    gunicorn.send(signal.SIGHUP)
    gunicorn.until(lambda: old not in gunicorn.worker_pids())
    assert len(gunicorn.events("started", before=f"ended {old}")) == 3  # the next one starts at once
    gunicorn.until(lambda: new not in gunicorn.worker_pids() and gunicorn.serving())
    assert len(gunicorn.events("started")) == 5  # with a rehearsal each


def test_dead_worker_is_replaced_before_a_stop(start: Start) -> None:
    """In STOP_DELAY_S, while proxies still send requests here."""
    gunicorn = start(STOP_DELAY_S="5")
    (old,) = gunicorn.worker_pids()
    gunicorn.send(signal.SIGTERM)
    gunicorn.until(lambda: b" True " in ask(gunicorn.port, "/"))
    os.kill(old, signal.SIGKILL)
    gunicorn.until(lambda: len(gunicorn.events("started")) == 2 and gunicorn.serving())
    assert gunicorn.ended() == 0


def test_stop_in_a_hurry_does_not_wait_for_proxies(start: Start) -> None:
    gunicorn = start(STOP_DELAY_S="60")
    gunicorn.send(signal.SIGTERM)
    gunicorn.until(lambda: b" True " in ask(gunicorn.port, "/"))
    gunicorn.send(signal.SIGINT)
    assert gunicorn.ended() == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
def test_stop_by_a_terminal_has_no_delay(how: signal.Signals, start: Start) -> None:
    gunicorn = start(STOP_DELAY_S="60")
    gunicorn.send(how)
    assert gunicorn.ended() == 0


def test_rehearsal_that_is_killed_lets_no_later_reload_through(start: Start) -> None:
    gunicorn = start(WORKER_TIMEOUT_S="30")
    (old,) = gunicorn.worker_pids()
    gunicorn.mischief("hang")
    gunicorn.send(signal.SIGHUP)
    gunicorn.until(lambda: len(gunicorn.events("started")) == 2)
    os.kill(gunicorn.events("started")[-1], signal.SIGKILL)
    gunicorn.mischief("fail")
    gunicorn.until(lambda: gunicorn.worker_pids() == {old})
    gunicorn.send(signal.SIGHUP)
    gunicorn.until(lambda: "Not reloaded" in gunicorn.log())
    assert gunicorn.worker_pids() >= {old}
    assert gunicorn.serving()


@contextmanager
def handed_over(gunicorn: Gunicorn) -> Iterator[int]:
    """SIGUSR2: the new master, while the old one is still there."""
    old = gunicorn.worker_pids()
    gunicorn.send(signal.SIGUSR2)
    gunicorn.until(lambda: len(gunicorn.events("started")) == 2 * len(old))
    (new,) = gunicorn.worker_pids() - old
    try:
        yield new
    finally:
        if psutil.pid_exists(new):
            os.kill(new, signal.SIGINT)
            gunicorn.until(lambda: len(gunicorn.events("ended")) == 2 * len(old))


def test_old_master_that_hands_over_leaves_the_new_one_ready(start: Start) -> None:
    gunicorn = start(STOP_DELAY_S="60")
    with handed_over(gunicorn):
        gunicorn.send(signal.SIGTERM)
        while gunicorn.process.poll() is None:
            assert b" False " in ask(gunicorn.port, "/")
        assert b" False " in ask(gunicorn.port, "/")


def test_new_master_that_is_backed_out_leaves_the_old_one_ready(start: Start) -> None:
    gunicorn = start(STOP_DELAY_S="60")
    with handed_over(gunicorn) as new:
        os.kill(new, signal.SIGTERM)
        while psutil.pid_exists(new):
            assert b" False " in ask(gunicorn.port, "/")
        gunicorn.until(lambda: len(gunicorn.worker_pids()) == 1)
        assert b" False " in ask(gunicorn.port, "/")


@dataclass
class Manager:
    """What systemd is to a service of `Type=notify`."""

    path: str
    socket: socket.socket

    def heard(self) -> dict[str, str]:
        return dict(line.split("=", 1) for line in self.socket.recv(4096).decode().splitlines())


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        listener.settimeout(20)
        yield Manager(path, listener)


def test_service_manager_hears_of_the_start_of_a_reload_and_of_the_stop(start: Start, manager: Manager) -> None:
    gunicorn = start(2, ready=False, NOTIFY_SOCKET=manager.path)
    assert manager.heard() == {"READY": "1"}
    assert gunicorn.serving()
    assert len(gunicorn.events("started")) == 2
    asked_at = time.monotonic()
    gunicorn.send(signal.SIGHUP)
    reloading = manager.heard()
    assert reloading["RELOADING"] == "1"
    assert asked_at * 1e6 <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic() * 1e6
    assert manager.heard() == {"READY": "1"}
    assert len(gunicorn.events("started")) == 5
    gunicorn.mischief("fail")
    gunicorn.send(signal.SIGHUP)
    assert "RELOADING" in manager.heard()
    assert manager.heard() == {"READY": "1"}
    gunicorn.send(signal.SIGTERM)
    assert manager.heard() == {"STOPPING": "1"}
    assert gunicorn.ended() == 0


def test_service_manager_hears_which_process_takes_over(start: Start, manager: Manager) -> None:
    gunicorn = start(NOTIFY_SOCKET=manager.path)
    assert manager.heard() == {"READY": "1"}
    with handed_over(gunicorn) as new:
        assert manager.heard() == {"READY": "1"}
        gunicorn.send(signal.SIGTERM)
        assert manager.heard() == {"MAINPID": str(new)}
        assert gunicorn.ended() == 0
        os.kill(new, signal.SIGTERM)
        assert manager.heard() == {"STOPPING": "1"}


def test_service_that_never_starts_is_never_ready(start: Start, manager: Manager) -> None:
    gunicorn = start(ready=False, NOTIFY_SOCKET=manager.path)
    gunicorn.mischief("fail")
    assert gunicorn.ended() == 3
    assert manager.heard() == {"STOPPING": "1"}


def _leave_blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD, signal.SIGUSR2])


def _leave_ignored() -> None:
    for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_IGN)


@pytest.mark.parametrize("leave", [_leave_blocked, _leave_ignored])
def test_signals_that_the_parent_does_not_hear_are_heard(leave: Callable[[], None], start: Start) -> None:
    gunicorn = start(2, preexec_fn=leave)
    victim = min(gunicorn.worker_pids())
    os.kill(victim, signal.SIGKILL)
    gunicorn.until(lambda: len(gunicorn.events("started")) == 3 and len(gunicorn.worker_pids()) == 2)
    gunicorn.reload()
    gunicorn.send(signal.SIGTERM)
    assert gunicorn.ended() == 0
    assert len(gunicorn.events("ended")) == 4 - 1 + 2


def test_worker_hears_a_signal_that_comes_right_after_its_fork(start: Start) -> None:
    gunicorn = start()
    for _ in range(10):
        (old,) = gunicorn.worker_pids()
        os.kill(old, signal.SIGKILL)
        while not (young := gunicorn.worker_pids() - {old}):
            pass
        os.kill(min(young), signal.SIGTERM)
        gunicorn.until(lambda gone=young: not gone & gunicorn.worker_pids())  # type: ignore[misc]
        gunicorn.until(lambda: len(gunicorn.worker_pids()) == 1 and gunicorn.serving())


FORK_FAILS = """
import os

fork = os.fork


def fork_if_there_is_room():
    if os.path.exists(os.environ["FULL"]):
        raise BlockingIOError(11, "Resource temporarily unavailable")
    return fork()


os.fork = fork_if_there_is_room
"""


def test_no_room_for_a_process_costs_no_worker_that_lives(start: Start, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FORK_FAILS)
    full = tmp_path / "full"
    gunicorn = start(2, PYTHONPATH=f"{tmp_path}:{ROOT}", FULL=str(full))
    killed, left = sorted(gunicorn.worker_pids())
    full.touch()
    os.kill(killed, signal.SIGKILL)
    gunicorn.until(lambda: "A worker cannot be started" in gunicorn.log())
    for number, words in [(signal.SIGHUP, "Not reloaded"), (signal.SIGUSR2, "There is no new master")]:
        gunicorn.send(number)
        gunicorn.until(lambda words=words: words in gunicorn.log())  # type: ignore[misc]
    assert gunicorn.worker_pids() == {left}
    assert gunicorn.serving()
    full.unlink()
    gunicorn.until(lambda: len(gunicorn.events("started")) == 3)
    gunicorn.reload()
    assert gunicorn.serving()


def test_a_new_master_that_cannot_begin_costs_no_worker(start: Start) -> None:
    """The folder of the release that was started is gone."""
    gunicorn = start()
    workers = gunicorn.worker_pids()
    gunicorn.folder = gunicorn.folder.rename(gunicorn.folder.with_name("moved"))
    gunicorn.send(signal.SIGUSR2)
    gunicorn.until(lambda: "There is no new master" in gunicorn.log() and gunicorn.worker_pids() == workers)
    gunicorn.send(signal.SIGTTIN)  # the master still hears
    gunicorn.until(lambda: len(gunicorn.worker_pids()) == 2)
    assert gunicorn.serving()


def test_a_service_that_stood_still_kills_no_worker_for_it(start: Start, aside: ThreadPoolExecutor) -> None:
    """`docker pause` and a suspended machine do this. The master is often the first to go on."""
    gunicorn = start(2)
    answer = aside.submit(ask, gunicorn.port, "/sleep?s=4")
    gunicorn.until(lambda: in_flight(gunicorn))
    workers = gunicorn.worker_pids()
    service = [psutil.Process(pid) for pid in (gunicorn.process.pid, *workers)]
    for process in service:
        process.suspend()
    time.sleep(3)  # WORKER_TIMEOUT_S is 2
    service[0].resume()
    time.sleep(0.3)
    for process in service:
        process.resume()
    assert b"200 OK" in answer.result()
    assert gunicorn.worker_pids() == workers
    aside.submit(ask, gunicorn.port, "/block?s=30")
    gunicorn.until(lambda: gunicorn.worker_pids() != workers)
    assert "WORKER TIMEOUT" in gunicorn.log()
