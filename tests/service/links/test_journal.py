import gc
import os
import shutil
import subprocess
import sys
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.features.links import batch as batches
from service.features.links import journal as journals
from service.features.links.batch import Batch
from service.features.links.journal import Journal
from service.features.links.orphans import UnreadableOrphan, take_orphan

COUNT_FOR_EVER = """
import sys
from pathlib import Path
from service.features.links.journal import Journal
journal = Journal(Path(sys.argv[1]))
for number in range(10**9):
    journal.add(number % 7 + 1)
    if number % 1000 == 999:
        journal.seal()
        sys.stdout.write("."), sys.stdout.flush()
"""


def take(folder: Path) -> Counter[int]:
    found: Counter[int] = Counter()
    while orphan := take_orphan(folder):
        assert sorted(orphan.batches) == list(orphan.batches)
        for clicks in orphan.batches.values():
            found.update(clicks)
        orphan.remove()
        orphan.release()
    return found


def abandon(journal: Journal) -> None:
    """As the kernel does when the process dies."""
    assert journal._lock is not None
    os.close(journal._lock)


@settings(deadline=None)
@given(
    st.lists(st.one_of(st.integers(1, 2**63 - 1), st.sampled_from(["seal", "renew", "confirm", "grow"])), max_size=60),
    st.integers(1, 4),
)
def test_every_click_is_in_one_batch(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str], capacity: int
) -> None:
    folder = tmp_path_factory.mktemp("clicks")
    confirmed: Counter[int] = Counter()
    sequences: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "CAPACITY", capacity)
        patch.setattr(journals, "CAPACITY", capacity)
        journal = Journal(folder)
        for step in steps:
            match step:
                case int():
                    journal.add(step)
                case "seal":
                    journal.seal()
                case "confirm" if journal.sealed:
                    confirmed += clicks_in(journal.sealed[0])
                    sequences += [sequence for sequence, _ in journal.sealed[0].parts()]
                    if unwanted := journal.confirm():
                        unwanted.discard()
                case "grow":
                    journal.grow_ahead()
                case _:
                    journal.spare = journal.renew(journal.take_spare())
        expected = Counter(step for step in steps if isinstance(step, int))
        assert (journal.pending, journal.lost) == (expected.total() - confirmed.total(), 0)
        waiting = [*journal.sealed, journal.active]
        assert sum(map(clicks_in, waiting), confirmed) == expected
        sequences += [sequence for batch in waiting for sequence, _ in batch.parts()]
        assert sorted(set(sequences)) == sequences
        abandon(journal)
        assert take(folder) + confirmed == expected


def clicks_in(batch: Batch) -> Counter[int]:
    found: Counter[int] = Counter()
    for _, clicks in batch.parts():
        found.update(clicks)
    return found


def test_the_journal_of_a_living_worker_is_left_alone(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add(7)
    assert take_orphan(tmp_path) is None
    journal.close()
    assert take(tmp_path) == {7: 1}
    assert list(tmp_path.iterdir()) == []


def test_one_that_has_nothing_pending_leaves_nothing_behind(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    assert list(tmp_path.iterdir()) == []


def test_of_two_heirs_one_inherits(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add(7)
    abandon(journal)
    assert take_orphan(tmp_path)
    assert take_orphan(tmp_path) is None


@pytest.mark.parametrize(("heir", "inherited"), [("shop", 2), ("another shop", 1)])
def test_a_deployment_inherits_its_own_clicks_and_those_without_a_name(
    tmp_path: Path, heir: str, inherited: int
) -> None:
    """Another deployment may have the same STATE_DIR, and links with the same ids."""
    for journal in (Journal(tmp_path), Journal(tmp_path, deployment="shop")):
        journal.add(7)
        abandon(journal)
    found, left = 0, set[str]()
    for _ in range(3):
        try:
            if orphan := take_orphan(tmp_path, deployment=heir, except_for=left):
                found += orphan.batches[1][7]
                orphan.remove()
                orphan.release()
        except UnreadableOrphan as error:
            left.add(error.folder.name)
    assert (found, len(left)) == (inherited, 2 - inherited)


def test_a_file_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    dead = tmp_path / uuid.uuid4().hex
    dead.mkdir()
    (dead / "0").write_bytes(b"")
    (dead / "1").write_bytes(bytes(23))
    assert take(tmp_path) == {}
    assert not dead.exists()


def test_a_killed_process_loses_no_click(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", COUNT_FOR_EVER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.read(20)
        process.kill()
        thousands = 20 + len(process.stdout.read())
    found = take(tmp_path)
    assert thousands * 1000 <= found.total() <= thousands * 1000 + 1999
    assert max(found.values()) - min(found.values()) <= 1


def test_while_redis_is_away_one_batch_grows_to_its_bound_and_is_sent_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "CAPACITY", 4)
    monkeypatch.setattr(journals, "CAPACITY", 4)
    monkeypatch.setattr(journals, "MOST_LINKS", 64)
    journal = Journal(tmp_path)
    journal.add(1)
    journal.seal()
    for _ in range(3):
        for link_id in range(1, 101):
            journal.add(link_id)
    assert (len(journal.sealed), journal.active.links, journal.lost) == (1, 63, 3 * 37)
    assert len(list(journal.folder.iterdir())) == 2
    sent = list(journal.active.parts())
    assert [sequence for sequence, _ in sent] == list(range(2, 18))
    assert max(len(clicks) for _, clicks in sent) == 4
    abandon(journal)
    assert take(tmp_path).total() == 1 + 3 * 63


def test_a_batch_grows_in_a_thread_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is left for the event loop to write is bounded: a slow disk would stop it for as long as that takes."""
    monkeypatch.setattr(journals, "MOST_LINKS", 8 * batches.CAPACITY)
    journal = Journal(tmp_path)
    journal.add(1)
    journal.seal()
    for link_id in range(1, 8 * batches.CAPACITY):
        if link_id % 1000 == 0:
            with ThreadPoolExecutor(1) as thread:
                growing = thread.submit(journal.grow_ahead)
                journal.add(link_id)
                growing.result()
        else:
            before = journal.active.capacity
            journal.add(link_id)
            assert journal.active.capacity == before
    assert (len(journal.sealed), journal.active.links) == (1, 8 * batches.CAPACITY - 1)
    abandon(journal)
    assert take(tmp_path).total() == 8 * batches.CAPACITY


def test_a_batch_is_never_spare_and_counted_into(tmp_path: Path) -> None:
    """A thread renews the spare batch while the event loop fills others, and its turn may be cancelled."""
    journal = Journal(tmp_path)
    with ThreadPoolExecutor(1) as thread:
        for turn in range(40):
            renewing = thread.submit(journal.renew, journal.take_spare())
            for link_id in range(turn % 3):
                journal.add(link_id)
                journal.seal()
            spare = renewing.result()
            if turn % 4:  # else cancelled
                journal.spare = spare
            waiting = [journal.active, *journal.sealed]
            assert spare not in waiting
            assert len(set(map(id, waiting))) == len(waiting)
            while turn % 5 == 0 and journal.sealed:
                if (unwanted := journal.confirm()) is not None:
                    unwanted.discard()
            assert journal.spare not in [journal.active, *journal.sealed]
    assert journal.lost == 0


def test_the_event_loop_writes_little_where_no_thread_comes_in_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.add(1)
    journal.seal()
    capacities = [batches.CAPACITY]
    for link_id in range(5 * batches.CAPACITY):
        journal.add(link_id)
        capacities.append(journal.active.capacity)
    steps = {after - before for before, after in pairwise(capacities)}
    assert steps == {0, batches.CAPACITY}
    journal._growing.acquire()  # as a thread does that hangs on the disk
    for link_id in range(batches.CAPACITY):
        journal.add(10**6 + link_id)
    assert (journal.lost, len(journal.sealed)) == (0, 2)


def test_what_redis_has_is_forgotten_and_its_file_used_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for turn in range(100):
        journal.add(turn)
        journal.spare = journal.renew(journal.take_spare())
        journal.seal()
        assert journal.confirm() is None
    assert len(list(journal.folder.iterdir())) == 2
    abandon(journal)
    assert take(tmp_path) == {}


def test_a_file_of_several_pages_is_not_used_again(tmp_path: Path) -> None:
    """A power cut could leave its pages at different moments."""
    journal = Journal(tmp_path)
    for link_id in range(300):
        journal.add(link_id)
    journal.seal()
    unwanted = journal.confirm()
    assert unwanted is not None
    assert (journal.spare, unwanted.total) == (None, 0)
    unwanted.discard()
    abandon(journal)
    assert take(tmp_path) == {}


@pytest.mark.parametrize("left", [True, False], ids=["with a copy of its files", "empty"])
def test_a_folder_made_anew_in_the_place_of_a_journal_is_no_orphan(tmp_path: Path, left: bool) -> None:
    """Nothing locks it, so that another worker would take the clicks of a living one."""
    journal = Journal(tmp_path)
    journal.add(1)
    copy = shutil.copytree(journal.folder, tmp_path.parent / f"{tmp_path.name}-copy")
    shutil.rmtree(journal.folder)
    if left:
        shutil.copytree(copy, journal.folder)
    else:
        journal.folder.mkdir()
    assert not journal.active.is_on_disk()
    spare = journal.renew(None)
    assert spare.is_on_disk() != left
    assert left or take_orphan(tmp_path) is None


def test_an_orphan_that_cannot_be_read_does_not_hide_others(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"")
    (tmp_path / "1" / "folder").mkdir(parents=True)
    journal = Journal(tmp_path)
    journal.add(7)
    abandon(journal)
    unreadable: set[str] = set()
    gc.collect()  # or a collection that comes now would close files of the tests before
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        try:
            if orphan := take_orphan(tmp_path, except_for=unreadable):
                assert list(orphan.batches.values()) == [{7: 1}]
                orphan.remove()
                orphan.release()
        except UnreadableOrphan as error:
            unreadable.add(error.folder.name)
    assert not journal.folder.exists()
    assert take_orphan(tmp_path, except_for=unreadable) is None
    assert unreadable <= {"0", "1"}
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
