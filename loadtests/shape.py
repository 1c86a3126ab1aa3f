"""The common part of the shapes: the users and the run time that were asked for, on the command line or in the web UI."""

from abc import abstractmethod

from locust import LoadTestShape

from loadtests.options import option

Tick = tuple[int, float]
"""Users, and how many of them come or go in a second."""


class Shape(LoadTestShape):
    abstract = True
    use_common_options = True
    lasts_s: float | None = None
    """Seconds of a run without a run time of its own; None continues until it is stopped."""

    def tick(self) -> Tick | None:
        assert self.runner
        users = option(self.runner.environment, "num_users") or 100
        lasts_s = option(self.runner.environment, "run_time") or self.lasts_s
        now_s: float = self.get_run_time()
        if lasts_s is not None and now_s >= lasts_s:
            return None
        wanted = max(1, round(users * self.share(now_s, lasts_s)))
        return wanted, max(1, users / 5)

    @abstractmethod
    def share(self, now_s: float, lasts_s: float | None) -> float:
        """Return the share of the users asked for, 0 to 1."""
