"""The command line: run, work, jobs, sizing, migrate, rehearse, doctor. It prepares and inspects; it never serves a request.

A command's module is imported when it is asked for, so that `--help` does not wait for libraries.
"""

import argparse
import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from brigade.cli.inherited import counting_for_itself, settle_process

if TYPE_CHECKING:
    from brigade.settings import Settings

COMMANDS = {
    "run": "check everything, print the plan, serve",
    "work": "do the jobs that the service enqueues, in a process beside it",
    "jobs": "list the dead jobs, or queue some of them again: jobs retry ID ...",
    "sizing": "print the plan: workers, pools and timeouts, where each came from and why",
    "migrate": "bring the database's schema up to date; safe to run many times at once",
    "rehearse": "start and end the application once, without serving: what a reload does first",
    "doctor": "check settings, machine and servers, and say how to mend what is wrong",
}
OPTIONS = {
    "sizing": ("--json", "print JSON instead of a table"),
    "migrate": ("--check", "only say what is pending, and exit 1 if anything is"),
    "doctor": ("--json", "print JSON instead of text"),
}


@dataclass(frozen=True)
class Project:
    """A service, as the engine's command line needs to know it."""

    app: str
    """Path of its factory, as `module:function`."""
    settings: "type[Settings]"
    features: Path
    """The folder that has a folder for each feature, with its migrations."""

    @property
    def command(self) -> str:
        return f"python -m {self.features.parent.name}"

    @property
    def has_jobs(self) -> bool:
        """Whether a feature has jobs, by the module that they are in."""
        return any(self.features.glob("*/jobs.py"))


class CommandError(Exception):
    """A reason to stop, in one sentence for the person at the terminal: no traceback, exit status 1."""


class _UnreadPipe(io.FileIO):
    """Standard output whose reader, a `head` perhaps, may leave: half a migration must not be what it leaves behind."""

    def write(self, data: Any, /) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)
        except OSError as error:
            raise CommandError(f"Standard output cannot be written: {error.strerror}.") from None


def main(app: str, *, settings: "type[Settings]", features: Path, arguments: Sequence[str] | None = None) -> int:
    """Run a command, and return its exit status. `app`, `settings` and `features` are those of `Project`."""
    settle_process()
    parser = argparse.ArgumentParser(
        prog=f"python -m {app.partition('.')[0]}", description="Run and look after the service."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, does in COMMANDS.items():
        command = commands.add_parser(name, help=does, description=f"{does[0].upper()}{does[1:]}.")
        if name in OPTIONS:
            flag, meaning = OPTIONS[name]
            command.add_argument(flag, action="store_true", help=meaning)
        if name == "jobs":
            command.add_argument("words", nargs="*", metavar="retry ID", help="the jobs to queue again, by their ids")
    chosen = vars(parser.parse_args(arguments))
    return _start(Project(app, settings, features), chosen.pop("command"), chosen)


def _start(project: Project, command: str, options: dict[str, Any]) -> int:
    from brigade.settings import ConfigurationError  # noqa: PLC0415 - it takes 0.3 s, and --help need not wait

    pipe = io.BufferedWriter(_UnreadPipe(sys.stdout.fileno(), "w", closefd=False))
    told = io.TextIOWrapper(pipe, sys.stdout.encoding, errors="backslashreplace", line_buffering=True)
    try:
        with redirect_stdout(told):
            with counting_for_itself():
                module = import_module(f"brigade.cli.{command}")
            status: int = module.main(project, **options)
    except (ConfigurationError, CommandError) as reason:
        print(f"service: {reason}", file=sys.stderr)
        return 2 if isinstance(reason, ConfigurationError) else 1
    except KeyboardInterrupt:
        return 130
    return status
