"""Reports every 5 % of a test run how much is done and how much is left."""

import time
from typing import Any

import pytest

FEWEST = 40
"""Pytest's own dots are enough for fewer tests than this."""
STEP_PERCENT = 5


class Progress:
    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._total = self._done = self._said = 0
        self._started = time.monotonic()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._begin(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        self._begin(len(ids))

    def _begin(self, total: int) -> None:
        self._total, self._started = total, time.monotonic()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "teardown" or self._total < FEWEST:
            return
        self._done += 1
        percent = 100 * self._done // self._total
        if percent >= self._said + STEP_PERCENT:
            self._said = percent - percent % STEP_PERCENT
            self._say(percent)

    def _say(self, percent: int) -> None:
        left = self._total - self._done
        minutes = (time.monotonic() - self._started) / self._done * left / 60
        terminal: Any = self._config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            terminal.ensure_newline()
            terminal.write_line(f"{percent:3} % done, {left} tests left: about {minutes:.0f} min")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the workers of xdist report through this process
        config.pluginmanager.register(Progress(config), "progress")
