"""A worker shares with its master each page of memory that neither of them writes to after the fork."""

import os
import subprocess
import sys
from pathlib import Path

START = """
import gc, importlib, inspect, runpy, sys
from types import SimpleNamespace

conf = runpy.run_path("brigade/server/gunicorn_conf.py")
for part in ("brigade.server.worker", "brigade.telemetry.logs"):  # Gunicorn's classes, which the settings name
    importlib.import_module(part)
conf["on_starting"](SimpleNamespace(master_pid=0))
print("unfrozen", len(gc.get_objects()))

before, searches = set(sys.modules), 0

def count(frame, event, _):
    global searches
    searches += event == "call" and frame.f_code is inspect.getmodule.__code__

sys.setprofile(count)
import service.main
service.main.create_app()
sys.setprofile(None)
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print("packages", *sorted(loaded - sys.stdlib_module_names))
print("searches", searches)
"""
"""Does what the master does before the fork, and then what a worker does first."""


def test_a_worker_starts_with_what_its_master_has_loaded(tmp_path: Path) -> None:
    """Each package that a worker loads for itself is memory of its own. A collection that looks at the master's objects
    writes to them, and so does a search through all modules, as `inspect` makes for the source of a class.
    """
    environment = os.environ | {"SERVER": "stock", "STATE_DIR": str(tmp_path), "LAB_ENABLED": "false"}
    environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
    done = subprocess.run([sys.executable, "-c", START], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert told["packages"] == "brigade service"
    assert told["searches"] == "0"
    assert int(told["unfrozen"]) < 100
