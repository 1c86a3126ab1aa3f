"""The public names for a hot path: routes that skip FastAPI's stack, and one lookup for many waiters.

docs/hot-path.md says when a route is worth it, and shows one.
"""

from brigade.stores.coalesce import Coalescer
from brigade.web.hot import ATTEMPT, Attempt, HotRoute, Shortcut, answer, served_by

__all__ = ["ATTEMPT", "Attempt", "Coalescer", "HotRoute", "Shortcut", "answer", "served_by"]
