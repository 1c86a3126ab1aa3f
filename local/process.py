"""Child processes that end with the process that started them, and locks that live as long as they do.

Knows nothing of what it starts.
"""

import errno
import fcntl
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

NOT_ROOT = "nobody"
"""User that runs Postgres if we are root, because Postgres refuses to run as root."""


class LocalError(Exception):
    """A reason why a local run cannot start, in one sentence for the person at the terminal."""


def spawn(
    command: Sequence[str | Path],
    *,
    dies_by: signal.Signals = signal.SIGTERM,
    root_allowed: bool = True,
    **options: Any,
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, so that the terminal's Ctrl-C reaches only the one who ends it in order.

    On Linux the kernel sends it `dies_by` when this process dies, however it dies. The options are those of Popen.
    """
    prefix = _setpriv(dies_by, root_allowed)
    return subprocess.Popen(
        [*prefix, *command], stdin=options.pop("stdin", subprocess.DEVNULL), start_new_session=True, **options
    )


def _setpriv(dies_by: signal.Signals, root_allowed: bool) -> list[str]:
    setpriv = shutil.which("setpriv") if sys.platform == "linux" else None
    drop_root = not root_allowed and os.geteuid() == 0
    if setpriv is None:
        if drop_root:
            raise LocalError("Postgres cannot run as root: start as an ordinary user, or install setpriv (util-linux).")
        return []
    return [setpriv, f"--pdeathsig={dies_by.name.removeprefix('SIG')}", *(_drop_root() if drop_root else [])]


def _drop_root() -> list[str]:
    """Another user, who keeps one capability: to reach a clone below a home that is closed to others (mode 0700).

    Without the secure bit, access(2) would not count it.
    """
    user = pwd.getpwnam(NOT_ROOT)
    reach = "+dac_override"
    return [
        f"--reuid={user.pw_uid}",
        f"--regid={user.pw_gid}",
        "--clear-groups",
        "--securebits=+no_setuid_fixup",
        f"--inh-caps={reach}",
        f"--ambient-caps={reach}",
    ]


def terminate(process: subprocess.Popen[bytes], how: signal.Signals = signal.SIGTERM, *, within_s: float = 30) -> None:
    if process.poll() is None:
        process.send_signal(how)
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        # All of its session, because a worker that stands in a debugger does not notice that its master has gone.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextmanager
def exclusive(path: Path, *, wait_s: float = 0, busy: str) -> Iterator[int]:
    """Hold a file lock. A child that inherits the descriptor holds it on, until the last of its own children has gone."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        deadline = time.monotonic() + wait_s
        while not _locked(descriptor):
            if time.monotonic() > deadline:
                raise LocalError(busy)
            time.sleep(0.05)
        yield descriptor
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_held(path: Path) -> bool:
    with path.open("a") as lock:
        return not _locked(lock.fileno())


def _draw_ports() -> Iterator[int]:
    """Ports below those that the kernel gives to outgoing connections, by the hundred.

    A process that draws from a hundred holds its first port as long as it lives, so that no other process draws from it.
    """
    while True:
        first = 20_000 + 100 * secrets.randbelow(120)
        with socket.socket() as holder, suppress(OSError):
            holder.bind(("127.0.0.1", first))
            holder.detach()
            yield from range(first + 1, first + 100)


_ports = _draw_ports()


def free_port() -> int:
    """A port that stays this process's own while nothing listens there, as between a stop and a start."""
    for port in _ports:
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("Ports are drawn without end.")


def check_port(host: str, port: int, *, setting: str = "PORT") -> None:
    """The service would say it too, but not before two servers have been started for it. The setting is the port's."""
    if not 0 < port < 2**16:  # the system would take it for another one
        raise LocalError(f"{setting} is {port}, and a port is 1 to 65535.")
    try:
        family, kind, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise LocalError(f"Port {port} is in use: end what listens there, or set {setting} to another.") from None
        raise LocalError(f"Cannot listen on {host}, port {port} ({error}): set HOST or {setting} to another.") from None
