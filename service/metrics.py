"""What a worker counts of itself."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.types import ASGIApp


@dataclass
class WorkerStats:
    started_at: float = field(default_factory=time.time)
    requests_total: int = 0
    in_flight: int = 0
    trace: Callable[[ASGIApp], ASGIApp] | None = None
    """Put around each request while somebody watches; None costs nothing."""
