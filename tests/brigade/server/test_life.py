"""How workers start, stop, hang, die and are replaced, and that no client pays for it."""

import asyncio
import itertools
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import psutil
import pytest

from tests.brigade.server.clients import Load, Tally, ask, exchange
from tests.brigade.server.conftest import ROOT, Gunicorn, Start
from tests.brigade.server.test_protocol import LAST, NEXT, assert_problem, status

STOPS = [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT]


def in_flight(gunicorn: Gunicorn, requests: int = 1) -> bool:
    connections = [link for pid in gunicorn.worker_pids() for link in psutil.Process(pid).net_connections("tcp")]
    return sum(link.status == psutil.CONN_ESTABLISHED for link in connections) >= requests


@pytest.mark.parametrize("how", STOPS)
def test_stop_finishes_requests_and_runs_the_lifespan(
    how: signal.Signals, start: Start, aside: ThreadPoolExecutor
) -> None:
    gunicorn = start(2)
    answers = [aside.submit(ask, gunicorn.port, path) for path in ("/sleep?s=1", "/stream?s=1")]
    gunicorn.until(lambda: in_flight(gunicorn, 2))
    gunicorn.send(how)
    assert gunicorn.ended() == 0
    finished, streamed = (answer.result() for answer in answers)
    assert status(finished) == 200
    assert b"first" in streamed
    assert b"last" in streamed
    assert sorted(gunicorn.events("ended")) == sorted(gunicorn.events("started"))
    assert "Error while closing socket" not in gunicorn.log()


def test_ctrl_c_in_a_terminal_is_one_wish_to_stop(start: Start, aside: ThreadPoolExecutor) -> None:
    """The terminal sends SIGINT to every process, and the master adds its own SIGQUIT."""
    gunicorn = start(2)
    answer = aside.submit(ask, gunicorn.port, "/sleep?s=1")
    gunicorn.until(lambda: in_flight(gunicorn))
    os.killpg(gunicorn.process.pid, signal.SIGINT)
    assert gunicorn.ended() == 0
    assert status(answer.result()) == 200
    assert len(gunicorn.events("ended")) == 2


@pytest.mark.parametrize("path", ["/sleep?s=30", "/stubborn?s=3"])
def test_request_that_outlasts_the_drain_is_answered_503(path: str, start: Start, aside: ThreadPoolExecutor) -> None:
    gunicorn = start(GRACEFUL_TIMEOUT_S="3", REQUEST_TIMEOUT_S="0.5")
    answer = aside.submit(ask, gunicorn.port, path)
    gunicorn.until(lambda: in_flight(gunicorn))
    gunicorn.send(signal.SIGTERM)
    assert gunicorn.ended() == 0
    assert_problem(answer.result(), 503)
    assert b"retry-after: " in answer.result()
    assert len(gunicorn.events("ended")) == 1
    assert "1 requests outlasted the drain" in gunicorn.log()
    assert "Traceback" not in gunicorn.log()


@pytest.mark.parametrize(("path", "behind"), [("/sleep?s=9", b""), ("/short?s=9", NEXT)], ids=["alone", "pipelined"])
def test_stop_in_a_hurry_answers_503_at_once(path: str, behind: bytes, start: Start, aside: ThreadPoolExecutor) -> None:
    gunicorn = start(GRACEFUL_TIMEOUT_S="30")
    answer = aside.submit(exchange, gunicorn.port, NEXT.replace(b"/", path.encode(), 1) + behind)
    gunicorn.until(lambda: in_flight(gunicorn))
    gunicorn.send(signal.SIGTERM)
    gunicorn.until(lambda: not gunicorn.serving())
    gunicorn.send(signal.SIGINT)
    assert gunicorn.ended(timeout_s=5) == 0
    assert_problem(answer.result(), 503)
    assert len(gunicorn.events("ended")) == 1
    assert "Traceback" not in gunicorn.log()


def test_lifespan_that_never_ends_is_cut_with_its_stack(start: Start) -> None:
    gunicorn = start(GRACEFUL_TIMEOUT_S="2", REQUEST_TIMEOUT_S="0.1")
    gunicorn.mischief("block")
    gunicorn.send(signal.SIGTERM)
    gunicorn.ended()
    assert "most recent call first" in gunicorn.log()
    assert "_mischief" in gunicorn.log()


def test_readiness_is_told_before_the_service_stops_and_not_in_a_reload(
    start: Start, aside: ThreadPoolExecutor
) -> None:
    gunicorn = start(STOP_DELAY_S="1")
    (old,) = gunicorn.worker_pids()
    during_reload = aside.submit(ask, gunicorn.port, "/sleep?s=1")
    gunicorn.until(lambda: in_flight(gunicorn))
    gunicorn.reload()
    assert f"{old} False".encode() in during_reload.result()
    gunicorn.send(signal.SIGTERM)
    gunicorn.until(lambda: b" True " in ask(gunicorn.port, "/"))
    assert gunicorn.ended() == 0


@pytest.mark.parametrize("workers", [1, 4])
def test_reload_loses_no_request(workers: int, start: Start) -> None:
    """Of clients that connect anew and of those that stay, asking for what is quick and for what is slow."""
    gunicorn = start(workers, HEADER_TIMEOUT_S="5")  # clients that are short of CPU are not slow ones

    async def reload_under_load() -> list[Tally]:
        async with AsyncExitStack() as stack:
            kinds = itertools.product(["/", "/sleep?s=0.3"], [False, True])
            loads = [Load(gunicorn.port, path, clients=16, keep=keep) for path, keep in kinds]
            tallies = [await stack.enter_async_context(load) for load in loads]
            for _ in range(3):
                await asyncio.sleep(0.2)
                await asyncio.to_thread(gunicorn.reload)
        return tallies

    for tally in asyncio.run(reload_under_load()):
        assert (tally.lost, tally.refused) == ([], []), gunicorn.log()
        assert set(tally.statuses) == {200}
        assert tally.answered > 16
    assert len(gunicorn.events("started")) == 4 * workers + 3  # and a rehearsal each
    assert len(gunicorn.events("ended")) == 3 * workers + 3


def test_stop_loses_no_request_of_a_connection_that_was_made(start: Start) -> None:
    """Also of those that the kernel had connected and no worker had accepted."""
    gunicorn = start(2, HEADER_TIMEOUT_S="5")

    async def stop_under_load() -> Tally:
        async with Load(gunicorn.port, "/", clients=64, keep=False) as tally:
            await asyncio.sleep(0.5)
            gunicorn.send(signal.SIGTERM)
            await asyncio.to_thread(gunicorn.ended)
        return tally

    tally = asyncio.run(stop_under_load())
    assert tally.lost == []
    assert tally.answered > 64


def test_blocked_worker_is_replaced_and_its_stack_is_in_the_log(start: Start, aside: ThreadPoolExecutor) -> None:
    gunicorn = start()
    (old,) = gunicorn.worker_pids()
    aside.submit(ask, gunicorn.port, "/block?s=30")
    gunicorn.until(lambda: len(gunicorn.events("started")) == 2)
    assert old not in gunicorn.worker_pids()
    assert "WORKER TIMEOUT" in gunicorn.log()
    assert "in _block" in gunicorn.log()
    assert list(gunicorn.folder.glob("core*")) == []


def test_worker_blocked_for_less_than_the_timeout_lives(start: Start) -> None:
    gunicorn = start(WORKER_TIMEOUT_S="3")
    before = gunicorn.worker_pids()
    assert status(ask(gunicorn.port, "/block?s=1.5")) == 200
    time.sleep(2)  # for the master to look twice
    assert gunicorn.worker_pids() == before


@pytest.mark.parametrize("how", ["hang", "block"])
def test_worker_that_hangs_in_its_start_is_replaced(how: str, start: Start) -> None:
    gunicorn = start(ready=False)
    gunicorn.mischief(how)
    gunicorn.until(lambda: len(gunicorn.events("started")) == 1)
    gunicorn.mischief("")
    gunicorn.until(gunicorn.serving)
    assert "WORKER TIMEOUT" in gunicorn.log()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_dead_worker_is_replaced_and_the_others_serve_on(how: signal.Signals, start: Start) -> None:
    gunicorn = start(2)
    victim = min(gunicorn.worker_pids())
    os.kill(victim, how)
    gunicorn.until(lambda: victim not in gunicorn.worker_pids() and len(gunicorn.events("started")) == 3)
    assert len(gunicorn.worker_pids()) == 2
    assert gunicorn.serving()


@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_a_task_that_ends_its_worker_ends_nothing_else(how: str, start: Start) -> None:
    """Gunicorn halts for a worker that exits with 3, and a worker that is interrupted thinks that it is the master."""
    gunicorn = start(2)
    workers = gunicorn.worker_pids()
    ask(gunicorn.port, f"/failing-task?{how}")
    gunicorn.until(lambda: len(gunicorn.worker_pids() - workers) == 1 and len(gunicorn.events("started")) == 3)
    gunicorn.until(gunicorn.serving)
    assert len(gunicorn.worker_pids() & workers) == 1
    assert b" False " in ask(gunicorn.port, "/"), "the service says that it is draining"


def test_workers_end_with_their_master(start: Start) -> None:
    gunicorn = start(2)
    workers = [psutil.Process(pid) for pid in gunicorn.worker_pids()]
    gunicorn.process.kill()
    gunicorn.until(lambda: not any(worker.is_running() for worker in workers))
    assert len(gunicorn.events("ended")) == 2
    assert not gunicorn.serving()


def test_first_start_that_fails_ends_the_server(start: Start) -> None:
    gunicorn = start(ready=False)
    gunicorn.mischief("fail")
    assert gunicorn.ended() == 3
    assert "no start today" in gunicorn.log()


@pytest.mark.parametrize(
    ("mischief", "reason"),
    [("fail", "RuntimeError: no start today"), ("hang", "longer than WORKER_TIMEOUT_S"), ("block", "in _mischief")],
)
def test_release_that_cannot_start_is_told_before_any_worker_is(mischief: str, reason: str, start: Start) -> None:
    gunicorn = start(2)
    old = gunicorn.worker_pids()
    gunicorn.mischief(mischief)
    gunicorn.send(signal.SIGHUP)
    gunicorn.until(lambda: "Not reloaded" in gunicorn.log())
    assert reason in gunicorn.log()
    assert len(gunicorn.events("started")) == 3
    gunicorn.mischief("")
    os.kill(min(old), signal.SIGKILL)  # the master has looked after its workers all the while
    gunicorn.until(lambda: len(gunicorn.events("started")) == 4 and len(gunicorn.worker_pids()) == 2)
    assert "Draining" not in gunicorn.log()
    gunicorn.reload()
    assert gunicorn.serving()


def test_release_that_starts_once_and_never_again_does_not_take_the_place_of_one_that_serves(start: Start) -> None:
    gunicorn = start(2, GRACEFUL_TIMEOUT_S="2", REQUEST_TIMEOUT_S="0.1")
    old = gunicorn.worker_pids()
    gunicorn.mischief("fail after one life")
    gunicorn.send(signal.SIGHUP)
    gunicorn.until(lambda: len(gunicorn.events("started")) >= 6)  # the old, the rehearsal, the new, and the first again
    assert gunicorn.serving()
    assert old <= gunicorn.worker_pids()
    assert "Draining" not in gunicorn.log()
    gunicorn.mischief("")
    gunicorn.until(lambda: not old & gunicorn.worker_pids() and len(gunicorn.worker_pids()) == 2)
    assert gunicorn.serving()


@pytest.mark.parametrize(
    ("variable", "reason"), [("KEEPALIVE_S=soon", "KEEPALIVE_S: "), ("OPS_PORT=1234", "a restart")]
)
def test_release_with_a_setting_that_cannot_be_used_is_not_loaded(variable: str, reason: str, start: Start) -> None:
    gunicorn = start()
    before = gunicorn.worker_pids()
    settings = gunicorn.folder / ".env"
    settings.write_text(f"{variable}\n")
    gunicorn.send(signal.SIGHUP)
    gunicorn.until(lambda: "Not reloaded" in gunicorn.log())
    assert reason in gunicorn.log()
    assert "Traceback" not in gunicorn.log()
    gunicorn.until(lambda: gunicorn.worker_pids() == before)
    settings.unlink()
    gunicorn.reload()
    assert gunicorn.serving()


def test_stop_does_not_wait_for_a_rehearsal(start: Start) -> None:
    gunicorn = start(WORKER_TIMEOUT_S="30")
    gunicorn.mischief("hang")
    gunicorn.send(signal.SIGHUP)
    gunicorn.until(lambda: len(gunicorn.events("started")) == 2)
    gunicorn.send(signal.SIGTERM)
    assert gunicorn.ended(timeout_s=10) == 0
    gunicorn.until(lambda: not gunicorn.serving())


def test_reload_brings_new_code_of_every_part(start: Start, tmp_path: Path) -> None:
    """Also of what the master has imported."""
    release = tmp_path / "release"
    for part in ("brigade", "service", "deploy", "tests/brigade/server"):
        shutil.copytree(ROOT / part, release / part, ignore=shutil.ignore_patterns("__pycache__"))
    gunicorn = start(root=release)
    assert exchange(gunicorn.port, NEXT + NEXT + LAST).count(b"200 OK") == 3
    for name, old, new in [
        ("server/sizes", "MAX_PIPELINED = 16", "MAX_PIPELINED = 1"),
        ("settings/variables", "= 32_768", "= 1_024"),
    ]:
        module = release / "brigade" / f"{name}.py"
        module.write_text(module.read_text().replace(old, new))
    gunicorn.reload()
    assert exchange(gunicorn.port, NEXT + NEXT + LAST).count(b"200 OK") == 2
    assert status(ask(gunicorn.port, "/" + "a" * 2000)) == 414


def test_new_master_takes_over_from_the_old(start: Start) -> None:
    """SIGUSR2: the way to a new Gunicorn or Python without closing the port."""
    gunicorn = start()
    (old_worker,) = gunicorn.worker_pids()
    gunicorn.send(signal.SIGUSR2)
    gunicorn.until(lambda: len(gunicorn.events("started")) == 2)
    (new_master,) = gunicorn.worker_pids() - {old_worker}
    gunicorn.send(signal.SIGTERM)
    try:
        assert gunicorn.ended() == 0
        assert gunicorn.serving()
    finally:
        os.kill(new_master, signal.SIGTERM)
    gunicorn.until(lambda: len(gunicorn.events("ended")) == 2)


def test_workers_may_have_a_socket_each(start: Start) -> None:
    gunicorn = start(2, REUSE_PORT="1")
    for pid in gunicorn.worker_pids():
        links = psutil.Process(pid).net_connections("tcp")
        assert [link.laddr.port for link in links if link.status == psutil.CONN_LISTEN] == [gunicorn.port]
    assert psutil.Process(gunicorn.process.pid).net_connections("tcp") == []
    gunicorn.reload()
    assert gunicorn.serving()


def test_crash_loop_slows_down_and_says_why(start: Start) -> None:
    gunicorn = start(WORKER_TIMEOUT_S="8")
    gunicorn.mischief("crash")
    os.kill(min(gunicorn.worker_pids()), signal.SIGKILL)
    gunicorn.until(lambda: gunicorn.log().count("died within") >= 2)
    assert "the next waits 1 s" in gunicorn.log()
    assert "the next waits 2 s" in gunicorn.log()
    gunicorn.mischief("")
    gunicorn.until(gunicorn.serving)


def test_stop_does_not_wait_for_a_crash_loop(start: Start) -> None:
    gunicorn = start(WORKER_TIMEOUT_S="30", GRACEFUL_TIMEOUT_S="30")
    gunicorn.mischief("crash")
    os.kill(min(gunicorn.worker_pids()), signal.SIGKILL)
    gunicorn.until(lambda: "the next waits 2 s" in gunicorn.log())
    gunicorn.send(signal.SIGTERM)
    gunicorn.ended(timeout_s=5)


def test_recycling_finishes_a_long_request_and_leaves_no_hole(start: Start, aside: ThreadPoolExecutor) -> None:
    """Longer than the timeout: the heartbeat goes on in the drain. One worker: its successor serves before it leaves."""
    gunicorn = start(1, MAX_REQUESTS="20", GRACEFUL_TIMEOUT_S="8")
    (old,) = gunicorn.worker_pids()
    long = aside.submit(ask, gunicorn.port, "/sleep?s=4")
    gunicorn.until(lambda: in_flight(gunicorn))
    slowest_s = 0.0
    for _ in range(60):
        asked_at = time.monotonic()
        assert status(ask(gunicorn.port, "/")) == 200
        slowest_s = max(slowest_s, time.monotonic() - asked_at)
        time.sleep(0.02)
    assert status(long.result()) == 200
    assert str(old).encode() in long.result()
    gunicorn.until(lambda: old not in gunicorn.worker_pids())
    assert slowest_s < 1
    assert "WORKER TIMEOUT" not in gunicorn.log()
    gunicorn.until(lambda: len(gunicorn.worker_pids()) == 1)


def test_garbage_of_large_objects_is_found_within_a_second_or_two(start: Start) -> None:
    """A feature whose errors keep a body of 250 kB each leaves few objects, and the collector counts objects."""
    gunicorn = start(workers=1)

    def alive() -> int:
        answer = exchange(gunicorn.port, LAST.replace(b"GET / ", b"GET /cycle "))
        return int(answer.partition(b"\r\na: ")[2].partition(b"\r")[0])

    assert max(alive() for _ in range(50)) > 5
    gunicorn.until(lambda: alive() < 5)
