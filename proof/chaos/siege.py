"""Many rude clients, of one kind after the other, at one worker: what they take of its memory, and how long honest ones wait meanwhile."""

import asyncio
import time
from dataclasses import dataclass, field

import psutil

from local.process import LocalError
from proof.chaos.hostile import ATTACKS, Attack
from proof.prove.connection import Address, ask_once

CLIENTS = 1000
PLANNED_MB = 160
SETTINGS = {"HEADER_TIMEOUT_S": "1", "BODY_TIMEOUT_S": "1", "WORKER_MEMORY_MB": str(PLANNED_MB)}

SAMPLE_S, PAUSE_S = 0.1, 0.05
PATIENCE_S = 10.0
REST_S = 0.5


@dataclass
class Siege:
    name: str
    before_mb: float
    peak_mb: float = 0.0
    after_mb: float = 0.0
    waits_s: dict[str, list[float]] = field(default_factory=dict)
    """Waits of honest clients by path, each on a new connection."""
    unserved: int = 0
    """Honest clients that were not answered as they should be."""
    endless: int = 0
    """Hostile clients that the service did not disconnect."""

    @property
    def broken(self) -> bool:
        return self.peak_mb > PLANNED_MB or bool(self.unserved or self.endless)


async def besiege(url: str, code: str, worker: psutil.Process, clients: int) -> list[Siege]:
    address, sieges = Address.of(url), []
    for name, (_, attack) in ATTACKS.items():
        siege = Siege(name, _memory_mb(worker))
        around = [asyncio.create_task(_sample(siege, worker))]
        around += [asyncio.create_task(_visit(siege, address, path)) for path in ("/livez", f"/r/{code}")]
        await asyncio.gather(*[_attack(siege, attack, address.port) for _ in range(clients)])
        await asyncio.sleep(REST_S)
        for task in around:
            task.cancel()
        await asyncio.gather(*around, return_exceptions=True)
        siege.after_mb = _memory_mb(worker)
        sieges.append(siege)
    return sieges


async def _attack(siege: Siege, attack: Attack, port: int) -> None:
    try:
        await attack(port)
    except LocalError:
        siege.endless += 1
    except OSError:
        pass  # reset before it had sent all: it was disconnected


async def _visit(siege: Siege, address: Address, path: str) -> None:
    waits_s = siege.waits_s[path] = []
    while True:
        began = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await ask_once(address, path)
            siege.unserved += answer.status >= 400
        except (OSError, TimeoutError):
            siege.unserved += 1
        waits_s.append(time.monotonic() - began)
        await asyncio.sleep(PAUSE_S)


async def _sample(siege: Siege, worker: psutil.Process) -> None:
    while True:
        siege.peak_mb = max(siege.peak_mb, await asyncio.to_thread(_memory_mb, worker))
        await asyncio.sleep(SAMPLE_S)


def _memory_mb(worker: psutil.Process) -> float:
    return worker.memory_full_info().uss / 2**20
