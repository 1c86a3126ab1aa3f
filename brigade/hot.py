"""The public names for a hot path: routes that skip FastAPI's stack, one lookup for many waiters, and cheap counts.

docs/hot-path.md says when a route is worth it, and shows one.
"""

from brigade.stores.coalesce import Coalescer
from brigade.telemetry.metrics import Count, Tally, tell, told_each_second
from brigade.telemetry.tracing import note
from brigade.web.etag import is_current, is_known
from brigade.web.hot import ATTEMPT, Attempt, HotRoute, Shortcut, answer, served_by

__all__ = [
    "ATTEMPT",
    "Attempt",
    "Coalescer",
    "Count",
    "HotRoute",
    "Shortcut",
    "Tally",
    "answer",
    "is_current",
    "is_known",
    "note",
    "served_by",
    "tell",
    "told_each_second",
]
