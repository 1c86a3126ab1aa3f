"""The state that a process inherits from its parent, and that must make no difference to the service."""

import io
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from signal import SIG_DFL, SIG_SETMASK, SIGTERM, getsignal, pthread_sigmask, signal
from typing import Any

STANDARD = ("stdin", "stdout", "stderr")
"""Standard streams in the order of their descriptors: 0, 1 and 2."""
UMASK = 0o022
NOT_OURS = ("GUNICORN_PID", "GUNICORN_FD", "GUNICORN_CMD_ARGS")
"""The first two tell a master that SIGUSR2 starts what it takes over."""
PROVIDERS = {
    "OTEL_PYTHON_TRACER_PROVIDER": "opentelemetry_tracer_provider",
    "OTEL_PYTHON_METER_PROVIDER": "opentelemetry_meter_provider",
}
"""Variables that name an installed part of OpenTelemetry, and the group in which it is found."""
HEADERS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
IS_HEADER = re.compile(r"[\w!#$%&'*+.^`|~-]+\s*=[ !#-+\--:<-\[\]-~]*", re.ASCII).fullmatch
"""Matches what OpenTelemetry reads of the two."""
OF_SYSTEMD = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


class _Remarks(io.FileIO):
    """Standard error. What it does not take, on a full disk or without a reader, must end no command."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


def settle_process() -> None:
    """Open what is closed of standard input, output and error, or the first socket would become one of them. Unblock
    the signals that the parent has blocked. Make files that this user can read again. Go on where standard error cannot.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < len(STANDARD):
        os.set_inheritable(descriptor, True)
        setattr(sys, STANDARD[descriptor], open(descriptor, "w" if descriptor else "r", closefd=False))  # noqa: SIM115
    os.close(descriptor)
    remarks = io.BufferedWriter(_Remarks(sys.stderr.fileno(), "w", closefd=False))
    sys.stderr = io.TextIOWrapper(remarks, sys.stderr.encoding, errors="backslashreplace", line_buffering=True)
    pthread_sigmask(SIG_SETMASK, ())
    _hear_stop()
    os.umask(UMASK)
    _settle_home()
    _settle_tls()
    _settle_propagators()
    _settle_telemetry()


def _hear_stop() -> None:
    """Let the first process of a container be stopped: the kernel keeps from it each signal that it has no handler for.

    It ends at once, as any other process does, because an exception could be lost where Python ignores exceptions.
    """
    if os.getpid() == 1 and getsignal(SIGTERM) is SIG_DFL:
        signal(SIGTERM, lambda *_: os._exit(128 + SIGTERM))


def _settle_home() -> None:
    """Replace a home that this user cannot enter, as `sudo -E` and `ProtectHome=` leave it, with that of a user without one.

    The client of Postgres looks for certificates there, and takes "permission denied" for a server that is away.
    """
    if not os.access(os.environ.get("HOME") or os.path.expanduser("~"), os.X_OK):  # noqa: PTH111 - Path.home() may raise
        os.environ["HOME"] = "/"


def _settle_tls() -> None:
    """Leave out what keeps every connection with TLS from being made: the clients would call the server away.

    The client of Postgres takes an empty variable for a value.
    """
    if path := os.environ.get("SSLKEYLOGFILE"):
        try:
            Path(path).open("ab").close()
        except OSError as error:
            _leave_out("SSLKEYLOGFILE", f"it cannot be written ({error.strerror})")
    for variable in [name for name, value in os.environ.items() if name.startswith("PG") and not value]:
        del os.environ[variable]


def _settle_telemetry() -> None:
    """Leave out what OpenTelemetry would end the process for: it is no part of what the service does."""
    for variable, value in list(os.environ.items()):
        if re.fullmatch("OTEL_[A-Z_]+_LIMIT", variable) and not re.fullmatch(r"\s*\d*\s*", value):
            _leave_out(variable, "it is no whole number")
    for variable in HEADERS:  # its SDK leaves out what it cannot read, and repeats it in the log: that is a key
        if not all(map(IS_HEADER, filter(None, map(str.strip, os.environ.get(variable, "").split(","))))):
            _leave_out(variable, "it is no list of name=value")
    for variable, group in PROVIDERS.items():
        named = os.environ.get(variable)
        if named and not entry_points(group=group, name=named):
            _leave_out(variable, f"{named} is not installed")


def _leave_out(variable: str, reason: str) -> None:
    print(f"service: {variable} is left out, as {reason}.", file=sys.stderr)
    del os.environ[variable]


def _settle_propagators() -> None:
    """Leave out propagators that are not installed, such as the `xray` that platforms set for programs of every language.

    OpenTelemetry cannot be imported while its variable names one.
    """
    named = [name.strip() for name in os.environ.get("OTEL_PROPAGATORS", "").split(",") if name.strip()]
    if not named:
        return
    known = {"none", *(entry.name for entry in entry_points(group="opentelemetry_propagator"))}
    kept = [name for name in named if name in known]
    if kept == named:
        return
    print(
        f"service: OTEL_PROPAGATORS is read as {','.join(kept) or 'its default'}: others are not installed.",
        file=sys.stderr,
    )
    os.environ["OTEL_PROPAGATORS"] = ",".join(kept)
    if not kept:
        del os.environ["OTEL_PROPAGATORS"]


@contextmanager
def counting_for_itself() -> Iterator[None]:
    """Import here what counts. A command is no worker: it must not write into the folder of metrics, which the master
    makes, and prometheus_client decides by the variable when it is imported.
    """
    os.environ.pop("prometheus_multiproc_dir", None)  # the name of old, of which prometheus_client makes the new one
    folder = os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    try:
        yield
    finally:
        if folder is not None:
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder


def settle_environment(*, workers: int | None, activated: bool) -> None:
    """Leave Gunicorn nothing to read by itself that says something else than the settings do.

    `workers`: what WEB_CONCURRENCY was read as. `activated`: systemd has handed over sockets.
    """
    if os.environ.get("GUNICORN_CMD_ARGS"):
        print("service: GUNICORN_CMD_ARGS is left out, as it would overrule the plan.", file=sys.stderr)
    of_others = () if activated else OF_SYSTEMD
    for variable in (*NOT_OURS, *of_others):
        os.environ.pop(variable, None)
    if os.environ.pop("WEB_CONCURRENCY", ""):
        os.environ["WEB_CONCURRENCY"] = str(workers)
    if os.environ.get("TRUSTED_PROXIES") or not os.environ.get("FORWARDED_ALLOW_IPS"):
        os.environ.pop("FORWARDED_ALLOW_IPS", None)
