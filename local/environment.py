"""Makes .venv and installs one locked requirements file in it: `python3 local/environment.py local|dev`.

The standard library alone, in words that an old Python reads too: it has to say that it is too old.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
# What pip may be told by the shell or by pip.conf: where packages come from. Where they go and which they are, this says.
SOURCES = {
    "cache-dir",
    "cert",
    "client-cert",
    "default-timeout",
    "extra-index-url",
    "find-links",
    "index-url",
    "keyring-provider",
    "no-cache-dir",
    "no-index",
    "proxy",
    "retries",
    "timeout",
    "trusted-host",
    "use-deprecated",
    "use-feature",
}


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
    """Make the environment, and make it again if another Python made it, or it was made elsewhere."""
    if not _has("python", maker):
        print("Making .venv ...", flush=True)
        _run([sys.executable, "-m", "venv", "--clear", str(VENV)], "Python could not make .venv.", _own_environment())
        _stamp("python").write_text(maker)


def _install(lock: Path) -> None:
    name = str(lock.relative_to(ROOT))
    print(f"Installing {name}, this once ...", flush=True)
    started = time.monotonic()
    # The lock is complete, so there is nothing to resolve; bytecode is made when, and if, a module is imported.
    options = ["--require-hashes", "--no-deps", "--no-compile", "--disable-pip-version-check", "-r", str(lock)]
    pip = [str(PYTHON), "-m", "pip", "install", *options]
    _run(pip, f"pip could not install {name}: its own words are above.", _pip_environment())
    print(f"Installed in {time.monotonic() - started:.0f} s.", flush=True)


def _own_environment() -> dict[str, str]:
    """Without what another Python was told: PYTHONHOME, PYTHONPATH and their like."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "__PYVENV"))}


def _pip_environment() -> dict[str, str]:
    """Without `user`, `target`, `prefix`, `constraint` and the rest of what pip reads from the shell and from pip.conf."""
    asked = [str(PYTHON), "-m", "pip", "config", "list", "--disable-pip-version-check"]
    listed = subprocess.run(asked, env=_own_environment(), stdout=subprocess.PIPE, text=True, check=False).stdout
    told = {}
    for section in ("global.", "install.", ":env:."):  # the last one wins, as in pip itself
        for line in listed.splitlines():
            name, _, value = line.partition("=")
            if name.startswith(section) and name[len(section) :] in SOURCES:
                told["PIP_" + name[len(section) :].upper().replace("-", "_")] = str(ast.literal_eval(value))
    kept = {name: value for name, value in _own_environment().items() if not name.startswith("PIP_")}
    return {**kept, **told, "PIP_CONFIG_FILE": os.devnull}


def _run(command: list[str], failure: str, environment: dict[str, str]) -> None:
    """Show the latest line on a terminal, and every line where it fails."""
    said = []
    redraws = bool(sys.stdout) and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        assert process.stdout
        for line in process.stdout:
            said.append(line)
            if redraws:
                print(f"\r\033[K{line.strip()[:76]}", end="", flush=True)
    if redraws:
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
