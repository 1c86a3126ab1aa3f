"""What do visitors see who do not wait for one another?

locust -f loadtests/scenarios/arriving.py --host http://127.0.0.1:8000 --arrivals 200

The class says what to look for.
"""

from loadtests.visitor import Arrivals, Ping

__all__ = ["Arriving", "Ping"]


class Arriving(Arrivals):
    """What do visitors see who do not wait for one another?

    200 requests a second arrive (`--arrivals`), at random moments or evenly spaced (`--arrival-times`), whether or not the
    earlier ones were answered, each for 100 ms of waiting. Look for about 20 in flight: the arrivals a second times the time
    of each, which is Little's law. Stop a worker for a second meanwhile, and look at the p99, which counts from the moment
    at which each request was due: users who wait for their answers hide most of it, because they stop asking.
    """

    does = "arrivals that do not wait for one another"
    crowd = 1

    def arrive(self) -> None:
        self.ask(f"/lab/sleep/awaited?ms={self.milliseconds()}", name="/lab/sleep/awaited")
