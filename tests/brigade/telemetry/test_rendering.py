"""Text for people, on a terminal of its own."""

import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

CODE = """
import sys
from brigade.telemetry.rendering import renderer
sys.stderr.buffer.write(renderer("console")({"event": "said", "level": "info"}))
"""


@pytest.mark.parametrize(
    ("variables", "colored"),
    [({"TERM": "xterm"}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colors_are_for_terminals_that_want_them(variables: dict[str, str], colored: bool) -> None:
    master, terminal = os.openpty()
    try:
        said = subprocess.run(
            [sys.executable, "-c", CODE],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)} | variables,
            stdout=terminal,
            stderr=subprocess.PIPE,
            check=True,
        ).stderr
    finally:
        os.close(master)
        os.close(terminal)
    assert b"said" in said
    assert (b"\x1b" in said) is colored
