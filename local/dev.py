"""`make dev`: `make run` with one worker that a debugger may stop, and new code as soon as a file is saved."""

import signal
import subprocess
from contextlib import ExitStack
from threading import Event, Thread

from watchfiles import watch

from local.notice import say
from local.places import PACKAGE, ROOT
from local.run import Mode, run

STOP_TIMEOUT_S = 5.0
"""A worker that stands at a breakpoint is not waited for."""

ENDLESS = "86400"
# Nothing may end a request, or a worker, that stands at a breakpoint. A stop must be slower than a request.
DEFAULTS = {
    "WEB_CONCURRENCY": "1",
    "REQUEST_TIMEOUT_S": ENDLESS,
    "WORKER_TIMEOUT_S": ENDLESS,
    "GRACEFUL_TIMEOUT_S": str(int(ENDLESS) + 60),
}
WATCHED = ("brigade", PACKAGE, ".env")


def dev() -> int:
    return run(Mode(DEFAULTS, stdin=None, stop_timeout_s=STOP_TIMEOUT_S, ready=_reload_on_save))


def _reload_on_save(service: subprocess.Popen[bytes], stack: ExitStack) -> None:
    stop = Event()
    thread = Thread(target=_follow, args=(service, stop), daemon=True)
    thread.start()
    stack.callback(thread.join)
    stack.callback(stop.set)


def _follow(service: subprocess.Popen[bytes], stop: Event) -> None:
    """Ask for a reload after each save. The master tries new code in a rehearsal, and keeps the old where that fails."""
    paths = [ROOT / name for name in WATCHED if (ROOT / name).exists()]
    watched = False
    for changes in watch(*paths, stop_event=stop, raise_interrupt=False, rust_timeout=100, yield_on_timeout=True):
        if changes:
            names = sorted({path.removeprefix(f"{ROOT}/") for _, path in changes})
            say(f"Saved: {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}")
            service.send_signal(signal.SIGHUP)
        elif not watched:  # only now the system tells what changes
            watched = True
            say("Save a file, and its code serves. At breakpoint() the debugger is here.\n")
