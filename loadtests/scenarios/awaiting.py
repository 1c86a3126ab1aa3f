"""How many users can one worker serve at once, if all they do is wait?

Start the service with WEB_CONCURRENCY=1, then:

    locust -f loadtests/scenarios/awaiting.py --host http://127.0.0.1:8000 --users 1000 --spawn-rate 200 --ms 500

In the graphs: requests per second rise with the users, to users / sleep (here 2,000), while the response time stays at
the length of the sleep. In the tab "Workers": one worker, nearly 1,000 requests in flight, a loop lag of some
milliseconds. Then compare with blocking.py.
"""

from locust import constant, task

from loadtests.options import option
from loadtests.visitor import Visitor


class Awaiting(Visitor):
    wait_time = constant(0)

    @task
    def sleep(self) -> None:
        self.ask(f"/lab/sleep/awaited?ms={option(self.environment, 'ms')}", name="/lab/sleep/awaited")
