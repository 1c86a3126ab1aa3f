"""The files that a process counts in: made with their room, or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from brigade.server.listening import name_of
from brigade.settings import Settings
from brigade.telemetry.metric_files import SIZES, make_room, open_sum
from proof.chaos.disk import small_disk, why_no_disk
from tests.conftest import ROOT

COUNTS_LATER = """
import importlib, sys
from pathlib import Path
from brigade.telemetry import metric_files
from prometheus_client import Counter, values
folder = Path(sys.argv[1])
folder.touch()
metric_files.begin()
Counter("early", "Help.").inc()
folder.unlink()
del sys.modules["brigade.telemetry.metric_files"]
importlib.import_module("brigade.telemetry.metric_files").begin()
Counter("late", "Help.").inc()
from brigade.telemetry import scrape
found = scrape.scrape().decode()
assert "late_total 1.0" in found and "early_total" not in found, found
"""


def test_a_process_counts_in_files_again_once_they_can_be_made(tmp_path: Path) -> None:
    """As after a reload: the master imports the engine again."""
    env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", COUNTS_LATER, str(tmp_path / "metrics")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot be made") == 1


@pytest.mark.skipif(bool(why_no_disk()), reason=why_no_disk())
def test_a_full_disk_is_an_error_before_anything_is_counted(tmp_path: Path) -> None:
    """What the dead have counted is added up by the master: a SIGBUS there would end the service."""
    with small_disk(tmp_path / "small", size_mib=1) as disk:
        kept = disk.folder / "counter_1.db"
        make_room(kept, SIZES["counter"])
        disk.fill()
        with pytest.raises(OSError, match="No space left"):
            open_sum(disk.folder / "counter_dead.db", added=kept)
        make_room(kept, SIZES["counter"])
        disk.free()
        open_sum(disk.folder / "counter_dead.db", added=kept).close()


def test_services_of_one_host_have_folders_of_their_own() -> None:
    """They may have the same STATE_DIR, and the same port on two addresses. Each empties its folder at its start."""
    places = [("127.0.0.1", 8000), ("127.0.0.2", 8000), ("::1", 8000), ("127.0.0.1", 8001)]
    names = {name_of(Settings(host=host, port=port)) for host, port in places}
    assert len(names) == len(places)
    assert "/" not in "".join(names)
