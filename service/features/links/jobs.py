"""The jobs of links: those that have expired are deleted every night."""

from brigade import JobRun, job
from service.features.links import store


@job(schedule="17 3 * * *")
async def delete_expired(run: JobRun) -> None:
    """A link that expired lately is kept for a day, so that visitors read 410, and that no cache still has it when its code is free."""
    while await store.delete_expired(run.pg):
        pass
