"""Tells how many jobs are not done, and for how long they have waited."""

from brigade.jobs import registered, rows
from brigade.stores.database import Pool
from brigade.telemetry.metrics import gauge

DEPTH = gauge("jobs", "Jobs that are not done, by state.", ["name", "state"])
OLDEST = gauge("jobs_oldest_seconds", "How long the oldest job that could run has waited.", ["name"])


class Depths:
    """The jobs by their names, those that this runner does not know among them: perhaps no runner does any more."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._names = set(registered)

    async def measure(self) -> None:
        found = {(row["entrypoint"], row["status"]): row for row in await self._pool.fetch(rows.DEPTHS)}
        self._names |= {name for name, _ in found}
        for name in self._names:
            for status, state in rows.STATES.items():
                row = found.get((name, status))
                DEPTH.labels(name, state).set(row["jobs"] if row else 0)
            waiting = found.get((name, "queued"))
            OLDEST.labels(name).set(float(waiting["oldest_s"]) if waiting else 0)
