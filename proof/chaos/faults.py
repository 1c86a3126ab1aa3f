"""The faults: what goes wrong, how to repair it if it does not recover by itself, and what is promised meanwhile."""

import asyncio
import random
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from local.process import LocalError
from proof.chaos import hostile, jobs, outgoing, surroundings
from proof.chaos.disk import why_no_disk
from proof.chaos.held import Held
from proof.chaos.memory import no_room, why_no_group
from proof.chaos.settings import (
    Setting,
    as_it_is,
    with_a_standby,
    with_a_standby_in_the_url,
    with_links_on_a_small_disk,
    with_state_on_a_small_disk,
    with_wal_on_a_small_disk,
)
from proof.chaos.stage import Stage
from proof.prove.client import ask

AWAY_S = 3.0
SILENT_S = 5.0
"""Longer than anybody may wait: who does, waited for the fault to end."""
FULL_S = 10.0
"""Until the room that there still is in the pages of the table is taken."""
LONG_S = 60.0
STREAMS, RELOADS = 1000, 3
"""WebSockets, and as many event streams, that are open in as many reloads."""
LARGEST_SHARE = 0.2
"""The largest part of their clients that may come back in one second, of all reloads."""


@dataclass(frozen=True)
class Fault:
    name: str
    strike: Callable[[Stage], Awaitable[None]]
    """Returns when the fault is over, and recovery can begin."""
    cuts: bool = False
    """A process dies with its connections, so clients that waited there have to ask again."""
    down: bool = False
    """Nobody listens for a while."""
    refuses: bool = False
    """Something is away that some requests need: they are refused."""
    quick: bool = False
    setting: Setting = as_it_is
    why_not: Callable[[], str] = str
    """The reason why this machine cannot have the fault, or nothing."""


async def reload_thrice(stage: Stage) -> None:
    for _ in range(3):
        await stage.reload()


async def reload_under_streams(stage: Stage) -> None:
    """Reload three times while a thousand WebSockets and a thousand event streams are open."""
    before_mb = _memory_mb(stage)
    async with Held(stage.url, stage.codes, STREAMS) as held:
        each_kb = 1024 * (_memory_mb(stage) - before_mb) / (2 * STREAMS)
        print(f"{each_kb:.0f} KiB a stream,", end=" ")
        held.back.clear()
        for _ in range(RELOADS):
            await stage.reload()
            if not await held.all_open(10):
                raise LocalError(f"Of {2 * STREAMS} streams, {held.open} were open 10 s after a reload.")
        print(f"told {held.told}, cut {held.cut}, back in one second at most {held.largest_share:.0%}", end=" ")
        if held.cut or held.told < 2 * STREAMS * RELOADS:
            raise LocalError(f"{held.cut} streams were cut without a word, and {held.told} were told.")
        if held.largest_share > LARGEST_SHARE:
            raise LocalError(f"{held.largest_share:.0%} of the clients came back in one second.")


def _memory_mb(stage: Stage) -> float:
    return float(sum(worker["rss_mb"] for worker in stage.state()["workers"]))


async def reload_what_cannot_start(stage: Stage) -> None:
    """A setting that is wrong, and then one that only the start of the application finds."""
    before = {worker.pid for worker in stage.workers()}
    for number, broken in enumerate([{"KEEPALIVE_S": "soon"}, {"DATABASE_URL": ""}], 1):
        refused = stage.log().count("Not reloaded") + 1
        stage.configure(**broken)
        stage.send(signal.SIGHUP)
        await stage.until(lambda wanted=refused: stage.log().count("Not reloaded") >= wanted, f"refused ({number})")  # type: ignore[misc]
    stage.configure()
    await stage.until(lambda: {worker.pid for worker in stage.workers()} == before, "left alone")


async def stop_and_start(stage: Stage) -> None:
    stage.send(signal.SIGTERM)
    if status := await stage.stop():
        raise LocalError(f"The service was told to stop, and ended with {status}.")
    await stage.start()


async def kill_everything(stage: Stage) -> None:
    await stage.kill()
    await stage.start()


def signal_worker(number: signal.Signals) -> Callable[[Stage], Awaitable[None]]:
    async def strike(stage: Stage) -> None:
        random.choice(stage.workers()).send_signal(number)  # noqa: S311

    return strike


async def run_out_of_memory(stage: Stage) -> None:
    """The kernel's own kill, by a control group with no room in it."""
    worker = random.choice(stage.workers())  # noqa: S311
    with no_room(worker.pid):
        await stage.until(lambda: not worker.is_running(), "rid of it", within_s=10)


async def block_a_loop(stage: Stage) -> None:
    """Block an event loop for longer than `WORKER_TIMEOUT_S`."""
    before = stage.log().count("WORKER TIMEOUT")
    with suppress(OSError):
        await asyncio.to_thread(ask, stage.url, "/lab/sleep/blocking?ms=5000")
    await stage.until(lambda: stage.log().count("WORKER TIMEOUT") > before, "rid of the blocked worker", within_s=10)
    if "in sleep_blocking" not in stage.log():
        raise LocalError("The log does not show where the blocked worker stood.")


async def slow_postgres(stage: Stage) -> None:
    stage.to_postgres.delay_s = 0.1  # a new connection takes five such answers
    await asyncio.sleep(AWAY_S)
    await stage.to_postgres.heal()


async def slow_redis(stage: Stage) -> None:
    stage.to_redis.delay_s = 0.1
    await asyncio.sleep(AWAY_S)
    await stage.to_redis.heal()


async def silent_postgres(stage: Stage) -> None:
    stage.to_postgres.silence()
    await asyncio.sleep(SILENT_S)
    await stage.to_postgres.heal()


async def silent_redis(stage: Stage) -> None:
    stage.to_redis.silence()
    await asyncio.sleep(SILENT_S)
    await stage.to_redis.heal()


async def reset_both(stage: Stage) -> None:
    """Ten times: idle connections and busy ones."""
    for _ in range(10):
        stage.to_postgres.reset()
        stage.to_redis.reset()
        await asyncio.sleep(0.3)


async def refuse_both(stage: Stage) -> None:
    stage.to_postgres.refuse()
    stage.to_redis.refuse()
    await asyncio.sleep(AWAY_S)
    await stage.to_postgres.heal()
    await stage.to_redis.heal()


async def lose_postgres(stage: Stage) -> None:
    """Kill Postgres with kill -9, and start it again after a while."""
    await asyncio.to_thread(stage.postgres.kill)
    await asyncio.sleep(LONG_S)
    await asyncio.to_thread(stage.postgres.start)


async def lose_redis(stage: Stage) -> None:
    await asyncio.to_thread(stage.valkey.kill)
    await asyncio.sleep(LONG_S)
    await asyncio.to_thread(stage.valkey.start)
    await stage.keep_everything()


async def promote_standby(stage: Stage) -> None:
    """The primary dies without a word, as a machine without power does, and somebody promotes its standby."""
    assert stage.standby
    lost, stage.postgres = stage.postgres, stage.standby
    stage.to_postgres.silence()
    await asyncio.to_thread(lost.kill)
    await asyncio.sleep(AWAY_S)
    await stage.sql("SELECT pg_promote()")


async def promote_standby_behind_the_address(stage: Stage) -> None:
    """The primary is killed; its name, or address, leads to the standby once that is promoted."""
    assert stage.standby
    lost, stage.postgres = stage.postgres, stage.standby
    await asyncio.to_thread(lost.kill)
    await asyncio.sleep(AWAY_S)
    await stage.sql("SELECT pg_promote()")
    stage.to_postgres.target = stage.postgres.port


async def fill_disk_of_links(stage: Stage) -> None:
    """Fill the disk of tables: Postgres continues, and cannot make a table longer."""
    assert stage.disk
    await asyncio.to_thread(stage.disk.fill)
    await asyncio.sleep(FULL_S)
    stage.disk.free()


async def fill_disk_of_wal(stage: Stage) -> None:
    """Postgres gives up with a PANIC, and cannot start again until there is room."""
    assert stage.disk
    await asyncio.to_thread(stage.disk.fill)
    with suppress(asyncpg.PostgresError, OSError):
        while True:
            await stage.sql("SELECT pg_logical_emit_message(true, '', repeat('x', 1000000))")
    await stage.until(lambda: not stage.postgres.running, "rid of Postgres", within_s=20)
    await asyncio.sleep(AWAY_S)
    stage.disk.free()
    await asyncio.to_thread(stage.postgres.start)


async def make_postgres_read_only(stage: Stage) -> None:
    """Make a server that answers and accepts no writes, as a fail-over does whose connections survive."""
    await stage.sql("ALTER SYSTEM SET default_transaction_read_only = on")
    await stage.sql("SELECT pg_reload_conf()")
    await asyncio.sleep(AWAY_S)
    await stage.sql("ALTER SYSTEM RESET default_transaction_read_only")
    await stage.sql("SELECT pg_reload_conf()")


async def crowd_postgres(stage: Stage) -> None:
    """Every connection of the server is taken by others, and the service's own are ended."""
    await stage.take_connections(AWAY_S)


async def fill_redis(stage: Stage) -> None:
    async with stage.redis() as redis:
        await redis.config_set("maxmemory", 1)
        await asyncio.sleep(AWAY_S)
        await redis.config_set("maxmemory", 0)


async def cancel_a_thousand(stage: Stage) -> None:
    """Clients that ask and are gone before the answer; whatever they held must come back."""
    requests = [f"/links?limit={1 + number % 20}" for number in range(1000)]
    for start in range(0, len(requests), 50):
        await asyncio.gather(*[hostile.ask_and_leave(stage.port, path) for path in requests[start : start + 50]])

    def nobody_holds_one() -> bool:
        return all(worker["db_pool"]["in_use"] <= 1 for worker in stage.state()["workers"])

    await stage.until(nobody_holds_one, "rid of what cancelled requests held", within_s=10)


FAULTS = (
    Fault("three reloads", reload_thrice, quick=True),
    Fault("three reloads under 2,000 streams", reload_under_streams),
    Fault("two releases that cannot start", reload_what_cannot_start),
    Fault("SIGTERM, and a new start", stop_and_start, down=True, quick=True),
    Fault("kill -9 of a worker", signal_worker(signal.SIGKILL), cuts=True, quick=True),
    Fault("SIGSEGV in a worker", signal_worker(signal.SIGSEGV), cuts=True),
    Fault("SIGTERM to a worker alone", signal_worker(signal.SIGTERM)),
    Fault("a worker out of memory", run_out_of_memory, cuts=True, why_not=why_no_group),
    Fault("an event loop blocked for ever", block_a_loop, cuts=True, quick=True),
    Fault("kill -9 of everything", kill_everything, cuts=True, down=True),
    Fault("Postgres 100 ms slower", slow_postgres),
    Fault("Postgres silent", silent_postgres, refuses=True),
    Fault("Postgres killed, back after a minute", lose_postgres, refuses=True),
    Fault(
        "Postgres's standby promoted, both in the URL", promote_standby, refuses=True, setting=with_a_standby_in_the_url
    ),
    Fault(
        "Postgres's standby promoted, at the old address",
        promote_standby_behind_the_address,
        refuses=True,
        setting=with_a_standby,
    ),
    Fault(
        "Postgres's disk of tables full",
        fill_disk_of_links,
        refuses=True,
        setting=with_links_on_a_small_disk,
        why_not=why_no_disk,
    ),
    Fault(
        "Postgres's disk of WAL full",
        fill_disk_of_wal,
        refuses=True,
        setting=with_wal_on_a_small_disk,
        why_not=why_no_disk,
    ),
    Fault("Postgres read-only", make_postgres_read_only, refuses=True),
    Fault("Postgres without a free connection", crowd_postgres, refuses=True),
    Fault("Postgres's password rotated", surroundings.rotate_password, refuses=True),
    Fault("a schema one version newer", surroundings.add_a_column),
    Fault("Redis 100 ms slower", slow_redis),
    Fault("Redis silent", silent_redis, refuses=True),
    Fault("Redis full", fill_redis, refuses=True),
    Fault("Redis killed, back after a minute", lose_redis, refuses=True),
    Fault("Redis refuses for long", surroundings.lose_redis_for_long, refuses=True),
    Fault("STATE_DIR deleted", surroundings.delete_state),
    Fault(
        "STATE_DIR full",
        surroundings.fill_disk_of_state,
        setting=with_state_on_a_small_disk,
        why_not=why_no_disk,
    ),
    Fault("connections to both reset, ten times", reset_both, refuses=True),
    Fault("both refuse", refuse_both, refuses=True),
    Fault("kill -9 of two runners amid jobs", jobs.amid_jobs(jobs.kill_runners), quick=True),
    Fault("Postgres killed amid jobs", jobs.amid_jobs(jobs.kill_postgres), refuses=True),
    Fault("Redis killed amid jobs", jobs.amid_jobs(jobs.kill_redis), refuses=True),
    Fault("another host hangs", outgoing.outgoing_host(outgoing.hang, opens=True), quick=True),
    Fault("another host refuses", outgoing.outgoing_host(outgoing.refuse, opens=True)),
    Fault("another host answers slowly", outgoing.outgoing_host(outgoing.answer_slowly, opens=False)),
    Fault("a thousand requests cancelled", cancel_a_thousand),
    Fault("5,000 idle connections", hostile.stay_idle, quick=True),
    Fault("hostile clients", hostile.attack, quick=True),
)


def fault(name: str) -> Fault:
    return next(each for each in FAULTS if each.name == name)
