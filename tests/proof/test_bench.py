import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_without_wrk_it_compares_cpu_time_and_says_what_it_cannot(tmp_path: Path) -> None:
    """The whole of it, on one route for a second."""
    command = [sys.executable, "-m", "proof.bench", "--only", "read", "--rounds", "1", "--seconds", "1"]
    for tool in filter(None, map(shutil.which, ("setpriv", "sh"))):  # Postgres as root, and nothing else
        (tmp_path / Path(tool).name).symlink_to(tool)
    environment = os.environ | {"PATH": str(tmp_path)}
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "wrk is not installed" in done.stdout
    report = json.loads((tmp_path / "bench.json").read_text())
    figures = {figure["name"]: figure["value"] for figure in report["figures"]}
    assert figures.keys() == {
        "read, textbook / ours, CPU a request",
        "read, textbook, logging / ours, CPU a request",
    }
    assert all(value > 1 for value in figures.values())
    assert report["generator"] == "python"
    assert {name: rounds[0]["errors"] for name, rounds in report["rounds"]["read"].items()} == {
        "ours": 0,
        "textbook": 0,
        "textbook, logging": 0,
    }
    assert (tmp_path / "bench.svg").read_text().startswith("<?xml")
