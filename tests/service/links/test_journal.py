import os
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.features.links import journal as journals
from service.features.links.journal import Journal, take_orphan

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
    st.lists(st.one_of(st.integers(1, 2**63 - 1), st.sampled_from(["seal", "prepare"])), max_size=60), st.integers(1, 4)
)
def test_every_click_is_in_one_batch(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str], capacity: int
) -> None:
    folder = tmp_path_factory.mktemp("clicks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(journals, "CAPACITY", capacity)
        journal = Journal(folder)
        for step in steps:
            match step:
                case int():
                    journal.add(step)
                case "seal":
                    journal.seal()
                case _:
                    journal.prepare()
        expected = Counter(step for step in steps if isinstance(step, int))
        assert journal.pending == expected.total()
        sealed = sum((Counter(batch.clicks()) for batch in [*journal.sealed, journal.active]), Counter[int]())
        assert sealed == expected
        sequences = [batch.sequence for batch in [*journal.sealed, journal.active]]
        assert sequences == list(range(1, len(sequences) + 1))
        abandon(journal)
        assert take(folder) == expected


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
