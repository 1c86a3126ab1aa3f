"""Stores that answer, and refuse what is asked of them: counted, and logged at most once in 10 s for each kind."""

import structlog

from brigade.telemetry.log_throttle import LogThrottle
from brigade.telemetry.metrics import counter

SHOWN = 300
"""Characters of the store's own words in a log line."""

REFUSALS = counter("store_refusals", "Answers by which a store refused what it was asked to do.", ["store"])
for _store in ("postgres", "redis"):
    REFUSALS.labels(_store)  # exported as 0 from the start, so that an alert sees the first one

log = structlog.get_logger("service.stores")
_throttle = LogThrottle()


def note_refusal(store: str, kind: str, error: BaseException, *, expected: bool = True) -> None:
    """Count and log a refusal. One that is not `expected` may be a defect, so its traceback is logged too."""
    REFUSALS.labels(store).inc()
    if (left_out := _throttle.admit(f"{store} {kind}")) is not None:
        log.error(
            "a store refuses what is asked of it",
            store=store,
            kind=kind,
            answer=str(error)[:SHOWN],
            left_out=left_out,
            exc_info=None if expected else error,
        )
