"""The faults: what goes wrong, how to repair it if it does not recover by itself, and what is promised meanwhile."""

import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from proof.chaos import hostile, jobs, outgoing, processes, stores, surroundings
from proof.chaos.disk import why_no_disk
from proof.chaos.memory import why_no_group
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


FAULTS = (
    Fault("three reloads", processes.reload_thrice, quick=True),
    Fault("three reloads under 2,000 streams", processes.reload_under_streams),
    Fault("two releases that cannot start", processes.reload_what_cannot_start),
    Fault("SIGTERM, and a new start", processes.stop_and_start, down=True, quick=True),
    Fault("kill -9 of a worker", processes.signal_worker(signal.SIGKILL), cuts=True, quick=True),
    Fault("SIGSEGV in a worker", processes.signal_worker(signal.SIGSEGV), cuts=True),
    Fault("SIGTERM to a worker alone", processes.signal_worker(signal.SIGTERM)),
    Fault("a worker out of memory", processes.run_out_of_memory, cuts=True, why_not=why_no_group),
    Fault("an event loop blocked for ever", processes.block_a_loop, cuts=True, quick=True),
    Fault("kill -9 of everything", processes.kill_everything, cuts=True, down=True),
    Fault("Postgres 100 ms slower", stores.slow_postgres),
    Fault("Postgres silent", stores.silent_postgres, refuses=True),
    Fault("Postgres killed, back after a minute", stores.lose_postgres, refuses=True),
    Fault(
        "Postgres's standby promoted, both in the URL",
        stores.promote_standby,
        refuses=True,
        setting=with_a_standby_in_the_url,
    ),
    Fault(
        "Postgres's standby promoted, at the old address",
        stores.promote_standby_behind_the_address,
        refuses=True,
        setting=with_a_standby,
    ),
    Fault(
        "Postgres's disk of tables full",
        stores.fill_disk_of_links,
        refuses=True,
        setting=with_links_on_a_small_disk,
        why_not=why_no_disk,
    ),
    Fault(
        "Postgres's disk of WAL full",
        stores.fill_disk_of_wal,
        refuses=True,
        setting=with_wal_on_a_small_disk,
        why_not=why_no_disk,
    ),
    Fault("Postgres read-only", stores.make_postgres_read_only, refuses=True),
    Fault("Postgres without a free connection", stores.crowd_postgres, refuses=True),
    Fault("Postgres's password rotated", surroundings.rotate_password, refuses=True),
    Fault("a schema one version newer", surroundings.add_a_column),
    Fault("Redis 100 ms slower", stores.slow_redis),
    Fault("Redis silent", stores.silent_redis, refuses=True),
    Fault("Redis full", stores.fill_redis, refuses=True),
    Fault("Redis killed, back after a minute", stores.lose_redis, refuses=True),
    Fault("Redis refuses for long", surroundings.lose_redis_for_long, refuses=True),
    Fault("STATE_DIR deleted", surroundings.delete_state),
    Fault("STATE_DIR read-only", surroundings.make_state_read_only, why_not=why_no_disk),
    Fault(
        "STATE_DIR full",
        surroundings.fill_disk_of_state,
        setting=with_state_on_a_small_disk,
        why_not=why_no_disk,
    ),
    Fault("connections to both reset, ten times", stores.reset_both, refuses=True),
    Fault("both refuse", stores.refuse_both, refuses=True),
    Fault("kill -9 of two runners amid jobs", jobs.amid_jobs(jobs.kill_runners), quick=True),
    Fault("Postgres killed amid jobs", jobs.amid_jobs(jobs.kill_postgres), refuses=True),
    Fault("Redis killed amid jobs", jobs.amid_jobs(jobs.kill_redis), refuses=True),
    Fault("another host hangs", outgoing.outgoing_host(outgoing.hang, opens=True), quick=True),
    Fault("another host refuses", outgoing.outgoing_host(outgoing.refuse, opens=True)),
    Fault("another host answers slowly", outgoing.outgoing_host(outgoing.answer_slowly, opens=False)),
    Fault("a thousand requests cancelled", hostile.cancel_a_thousand),
    Fault("5,000 idle connections", hostile.stay_idle, quick=True),
    Fault("hostile clients", hostile.attack, quick=True),
)


def fault(name: str) -> Fault:
    return next(each for each in FAULTS if each.name == name)
