"""What a worker counts of itself."""

import time
from dataclasses import dataclass, field


@dataclass
class WorkerStats:
    started_at: float = field(default_factory=time.time)
    requests_total: int = 0
    in_flight: int = 0
