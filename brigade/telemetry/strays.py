"""Puts into the log what Python itself would write to stderr as text: warnings, and exceptions that reach nobody."""

import logging
import sys
import threading

log = logging.getLogger("python")


def log_strays() -> None:
    """Call this in a process that serves or works. In a test, pytest has hooks of its own."""
    logging.captureWarnings(capture=True)
    threading.excepthook = _log_thread
    sys.unraisablehook = _log_unraisable


def _log_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_type is not SystemExit and args.exc_value is not None:
        name = args.thread.name if args.thread else "a thread"
        log.error("An exception ended the thread %s.", name, exc_info=args.exc_value)


def _log_unraisable(args: "sys.UnraisableHookArgs") -> None:
    log.error("%s: %r", args.err_msg or "An exception was ignored in", args.object, exc_info=args.exc_value)
