"""The first ten minutes of a newcomer end well. How long each step took is printed, and held against nothing."""

import tempfile
from pathlib import Path

import pytest

from tests.e2e.first_minutes import FirstMinutes


@pytest.mark.timeout(600)
def test_a_newcomer_needs_nothing_but_what_is_written() -> None:
    # Not in pytest's own folder, which it closes to all other users.
    with tempfile.TemporaryDirectory(prefix="brigade-") as folder:
        Path(folder).chmod(0o755)
        minutes = FirstMinutes(Path(folder))
        minutes.live(tests=False)
    assert "change a line, until it serves" in minutes.took
