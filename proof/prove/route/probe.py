"""Looks at a service while a window is measured: CPU time, /workers, what the watchdog says, and what Postgres was asked."""

import json
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from proof.prove.connection import Address
from proof.prove.route.cpu import CpuUse, snapshot, used
from proof.prove.route.events import LATE_S, LabEvents
from proof.prove.stage import Stage

POLL_EVERY_S = 0.05
STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]*): (.+)")


@dataclass
class Seen:
    """Everything that was seen in one window, or in several of the same kind together."""

    cpu: CpuUse = field(default_factory=CpuUse)
    is_local: bool = False
    """The workers run on this machine, so that their threads can be told apart."""
    workers: list[dict[str, Any]] = field(default_factory=list)
    """States of a worker, each from one look at /workers."""
    incidents: list[dict[str, Any]] = field(default_factory=list)
    statements: Counter[str] = field(default_factory=Counter)
    peers: Counter[str] = field(default_factory=Counter)
    """Addresses that workers were connected to, other than Postgres, Redis and their clients."""

    def share(self, is_so: Any) -> float:
        return sum(map(bool, map(is_so, self.workers))) / max(1, len(self.workers))


class ServiceProbe:
    """`events` are those of a deployment; the log of a service of our own says the same."""

    def __init__(self, stage: Stage, workers: int, events: LabEvents | None = None) -> None:
        self._stage, self._count, self._events = stage, workers, events
        self._knows = stage.own
        here = socket.gethostname()
        states = stage.state(workers)["workers"]
        self.pids = [state["pid"] for state in states if state["host"] == here and psutil.pid_exists(state["pid"])]
        # A worker of our own that has just ended may still be told; it makes the others no less local.
        self.seen = Seen(is_local=bool(self.pids) and (stage.own or len(self.pids) == len(states)))

    def begin(self) -> None:
        self._log, self._statements = _Tail(self._stage.log(self._count)), _Tail(self._stage.statements)
        self._stopped = threading.Event()
        # A thread each, because a busy service answers late, and its connections are gone by then.
        notes = self._note_peers, self._note_states
        self._threads = [threading.Thread(target=self._look, args=(note,), daemon=True) for note in notes]
        for thread in self._threads:
            thread.start()
        self._began_at = time.time()
        self._note_peers()
        self._before = snapshot(self.pids)

    def end(self) -> None:
        self.seen.cpu = self.seen.cpu.plus(used(self._before, snapshot(self.pids)))
        self._stopped.set()
        ended_at = time.time()
        self.seen.statements.update(found[1].strip() for line in self._statements if (found := STATEMENT.search(line)))
        for line in self._log:
            if '"event loop was blocked"' in line:
                with suppress(ValueError):
                    self.seen.incidents.append(json.loads(line))
        for thread in self._threads:
            thread.join(POLL_EVERY_S)
        if self._events:
            time.sleep(LATE_S)
            self.seen.incidents += self._events.between(self._began_at, ended_at)

    def _look(self, note: Callable[[], None]) -> None:
        while not self._stopped.wait(POLL_EVERY_S):
            with suppress(OSError, ValueError, KeyError):  # a busy service may answer with a problem
                note()

    def _note_peers(self) -> None:
        self.seen.peers.update(set(self._peers()))

    def _note_states(self) -> None:
        self.seen.workers += self._stage.state(self._count)["workers"]

    def _peers(self) -> Iterator[str]:
        listening = Address.of(self._stage.url(self._count)).port
        for pid in self.pids if self._knows else ():
            with suppress(psutil.Error):
                for each in psutil.Process(pid).net_connections("tcp"):
                    ours = {listening, *self._stage.ports}
                    if each.status == psutil.CONN_ESTABLISHED and not ours & {each.laddr.port, each.raddr.port}:
                        yield f"{each.raddr.ip}:{each.raddr.port}"


class _Tail:
    """The lines that a file gets from now on; none where there is no file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._from = path.stat().st_size if path and path.exists() else 0

    def __iter__(self) -> Iterator[str]:
        if self._path and self._path.exists():
            with self._path.open(errors="replace") as file:
                file.seek(self._from)
                yield from file
