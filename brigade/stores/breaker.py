"""Stops asking a backend that does not answer, so that nobody waits for it in turn."""

import time

import structlog

log = structlog.get_logger("service.breaker")


class Breaker:
    """Open after `threshold` failures in a row; then one trial every `retry_every_s` until one succeeds."""

    def __init__(self, *, backend: str = "redis", threshold: int = 3, retry_every_s: float = 1.0) -> None:
        self.backend = backend
        self.threshold = threshold
        self.retry_every_s = retry_every_s
        self.failures = 0
        self.opened_total = 0
        self._next_trial = 0.0

    @property
    def is_open(self) -> bool:
        return self.failures >= self.threshold

    def allows(self) -> bool:
        """Whether to ask now. While open, each True is the one trial of its interval."""
        if not self.is_open:
            return True
        now = time.monotonic()
        if now < self._next_trial:
            return False
        self._next_trial = now + self.retry_every_s
        return True

    def succeeded(self) -> None:
        if self.is_open:
            log.warning("backend answers again", backend=self.backend, failures=self.failures)
        self.failures = 0

    def failed(self) -> None:
        self.failures += 1
        if self.failures == self.threshold:
            self.opened_total += 1
            log.warning("backend is left alone", backend=self.backend, retry_every_s=self.retry_every_s)
            self._next_trial = time.monotonic() + self.retry_every_s

    def undecided(self) -> None:
        """End a call that neither succeeded nor failed. If it was the trial, the next caller makes another at once."""
        if self.is_open:
            self._next_trial = time.monotonic()
