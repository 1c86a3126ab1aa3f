"""The log has what Python would write to stderr as text, which is tried in a process of its own."""

import json
import os
import subprocess
import sys

from tests.conftest import ROOT

CODE = """
import threading, warnings
from brigade.settings import load_settings
from brigade.telemetry import logs
from brigade.telemetry.strays import log_strays

class Dying:
    def __del__(self):
        raise ValueError("too late")

logs.configure(load_settings())
log_strays()
warnings.warn("old\\nnews")
thread = threading.Thread(target=lambda: 1 / 0, name="counter")
thread.start()
thread.join()
Dying()
"""


def test_warnings_and_exceptions_that_reach_nobody_are_lines_of_the_log() -> None:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", CODE], env=env, cwd="/", capture_output=True, text=True, check=True)
    assert done.stderr == ""
    warned, ended, ignored = map(json.loads, done.stdout.splitlines())
    assert "UserWarning: old\nnews" in warned["event"]
    assert "thread counter" in ended["event"]
    assert "ZeroDivisionError" in ended["exception"]
    assert "Dying.__del__" in ignored["event"]
    assert "too late" in ignored["exception"]
