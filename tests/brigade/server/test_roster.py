"""The table of workers that the master and they share, over a long life; and the files that a worker may open."""

import resource

import pytest

from brigade.server import worker
from brigade.server.lifecycle import Roster, State


@pytest.mark.parametrize("age", [1, 2**16 - 1000, 2**32 - 1000, 2**63])
def test_a_successor_is_seen_however_many_workers_there_have_been(age: int) -> None:
    roster = Roster()
    old = roster.enter(age)
    roster.set_state(old, State.READY)
    for younger in range(age + 1, age + 2000):
        assert not roster.has_newer(old, State.READY)
        new = roster.enter(younger)
        assert new != old
        roster.set_state(new, State.READY)
        assert roster.has_newer(old, State.READY)
        assert not roster.has_newer(new, State.READY)
        roster.set_state(old, State.GONE)
        old = new
    assert roster.flags.rows == 2


def test_a_worker_takes_as_many_files_as_the_system_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS, which says that there is no limit, and refuses more than kern.maxfilesperproc."""
    allowed: dict[int, tuple[int, int]] = {}
    most = 0

    def set_limit(what: int, limits: tuple[int, int]) -> None:
        if what == resource.RLIMIT_NOFILE and limits[0] > most:
            raise ValueError("current limit exceeds maximum limit")
        allowed[what] = limits

    monkeypatch.setattr(resource, "getrlimit", lambda _: (256, resource.RLIM_INFINITY))
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    for limit, wanted in ((100_000, 65_536), (10_240, 10_240), (1000, None)):
        most = limit
        allowed.clear()
        worker._limit_process()
        assert allowed.get(resource.RLIMIT_NOFILE) == (wanted and (wanted, resource.RLIM_INFINITY))
        assert resource.RLIMIT_CORE in allowed
