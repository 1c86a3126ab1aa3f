"""Limits how often the same event is logged, so that an outage does not fill the log."""

import time

LOG_EVERY_S = 10.0


class LogThrottle:
    """Admits an event at most once in `every_s` for each key, and counts those in between. Keys must be few."""

    def __init__(self, every_s: float = LOG_EVERY_S) -> None:
        self.every_s = every_s
        self._logged_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def admit(self, key: str) -> int | None:
        """Return how many events were left out since the last one logged, or None if this one is left out too."""
        now = time.monotonic()
        if now - self._logged_at.get(key, -self.every_s) < self.every_s:
            self._left_out[key] = self._left_out.get(key, 0) + 1
            return None
        self._logged_at[key] = now
        return self._left_out.pop(key, 0)
