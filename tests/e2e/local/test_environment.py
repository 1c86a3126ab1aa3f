"""The environment's refusals, each one sentence. That it works, test_run shows."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "local" / "environment.py"


def _make_environment(*, after: str) -> subprocess.CompletedProcess[str]:
    code = f"import runpy, sys, importlib.util; {after}; sys.argv[1:] = ['local']; runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("after", "sentence"),
    [
        ("sys.version_info = (3, 9, 2)", "Brigade needs Python 3.11 or newer and this is 3.9.2"),
        ("sys.modules['ensurepip'] = None", "apt install python3-venv"),
    ],
)
def test_environment_refuses_a_python_that_will_not_do(after: str, sentence: str) -> None:
    made = _make_environment(after=after)
    assert made.returncode == 1
    assert sentence in made.stderr
    assert "Traceback" not in made.stderr
    assert made.stderr.count("\n") == 1
