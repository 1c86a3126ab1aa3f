"""Makes .venv and installs one locked requirements file in it: `python3 local/environment.py local|dev`.

The standard library alone, in words that an old Python reads too: it has to say that it is too old.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"


def main(group: str) -> None:
    _check_python()
    lock = ROOT / "requirements" / (group + ".txt")
    maker = sys.version + str(VENV)
    wanted = hashlib.sha256(maker.encode() + lock.read_bytes()).hexdigest()
    if not _has(group, wanted):
        (ROOT / ".local").mkdir(exist_ok=True)
        with (ROOT / ".local" / "environment.lock").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # make run and make test, both for the first time
            if not _has(group, wanted):
                _make(maker)
                _install(lock)
                _stamp(group).write_text(wanted)


def _check_python() -> None:
    version = "{}.{}.{}".format(*sys.version_info[:3])
    if sys.version_info < OLDEST:
        sys.exit(
            f"Brigade needs Python 3.11 or newer and this is {version}: name a newer one, as in PYTHON=python3.12."
        )
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        sys.exit(f"Python {version} cannot make environments here: on Debian and Ubuntu, apt install python3-venv.")


def _stamp(name: str) -> Path:
    return VENV / (name + ".stamp")


def _has(name: str, wanted: str) -> bool:
    stamp = _stamp(name)
    return PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted


def _make(maker: str) -> None:
    """Anew where another Python made it, or it was made elsewhere."""
    if not _has("python", maker):
        print("Making .venv ...", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(VENV)], "Python could not make .venv.")
        _stamp("python").write_text(maker)


def _install(lock: Path) -> None:
    name = str(lock.relative_to(ROOT))
    print(f"Installing {name}, this once ...", flush=True)
    started = time.monotonic()
    # The lock is complete, so there is nothing to resolve; bytecode is made when, and if, a module is imported.
    options = ["--require-hashes", "--no-deps", "--no-compile", "--disable-pip-version-check", "-r", str(lock)]
    _run([str(PYTHON), "-m", "pip", "install", *options], f"pip could not install {name}: its own words are above.")
    print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)


def _run(command: list[str], failure: str) -> None:
    """Show the latest line on a terminal, and every line where it fails."""
    said = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout
        for line in process.stdout:
            said.append(line)
            if sys.stdout.isatty():
                print(f"\r\033[K{line.strip()[:76]}", end="", flush=True)
    if sys.stdout.isatty():
        print("\r\033[K", end="", flush=True)
    if process.returncode != 0:
        sys.exit("".join(said) + failure)


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"The environment cannot be made: {error}.")
