"""What does one blocking call in an `async def` route do to everybody else?

Start the service with WEB_CONCURRENCY=1, then:

    locust -f loadtests/scenarios/blocking.py --host http://127.0.0.1:8000 --users 10 --ms 200

In the graphs: all users together get 1 / sleep requests per second (here 5), however many there are. The ping, a route
that does nothing at all, takes as long as the queue in front of it: 2 s instead of 2 ms. In the tab "Workers": a loop lag
of hundreds of milliseconds. The service's log names the line that blocks.
"""

from locust import constant, task

from loadtests.options import option
from loadtests.visitor import Ping, Visitor

__all__ = ["Blocking", "Ping"]


class Blocking(Visitor):
    wait_time = constant(0)

    @task
    def sleep(self) -> None:
        self.ask(f"/lab/sleep/blocking?ms={option(self.environment, 'ms')}", name="/lab/sleep/blocking")
