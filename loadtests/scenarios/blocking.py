"""What does one blocking call in an `async def` route do to everybody else?

locust -f loadtests/scenarios/blocking.py --host http://127.0.0.1:8000 --users 10 --ms 200

The class says what to look for.
"""

from locust import constant, task

from loadtests.visitor import Ping, Visitor

__all__ = ["Blocking", "Ping"]


class Blocking(Visitor):
    """What does one blocking call in an `async def` route do to everybody else?

    Each of 25 users asks for 50 ms of `time.sleep` in an `async def` route. Look for a worker that is frozen (of several,
    each may stop for too short to be called so: then its loop is late), 20 answers a second from each worker however many
    users there are, and a ping that takes about a second instead of a few milliseconds, though it does nothing: it stands
    in the queue behind everybody. The service's log names the line.
    """

    does = "`time.sleep` in `async def`"
    crowd = 25
    ms = 50
    wait_time = constant(0)

    @task
    def sleep(self) -> None:
        self.ask(f"/lab/sleep/blocking?ms={self.milliseconds()}", name="/lab/sleep/blocking")
