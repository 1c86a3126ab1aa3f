"""How many users can one worker serve at once, if all they do is wait?

locust -f loadtests/scenarios/awaiting.py --host http://127.0.0.1:8000 --users 1000 --spawn-rate 100 --ms 500

The class says what to look for.
"""

from locust import constant, task

from loadtests.visitor import Ping, Visitor

__all__ = ["Awaiting", "Ping"]


class Awaiting(Visitor):
    """How many users can one worker serve at once, if all they do is wait?

    Each of 100 users asks for an answer that takes 200 ms of waiting (`await asyncio.sleep`), again and again. Look for
    about 100 requests in flight at once and about 500 answers a second, and a ping that stays at a few milliseconds: while
    one request waits, the event loop serves the others. A second worker adds next to nothing.
    """

    does = "`await asyncio.sleep` in `async def`"
    crowd = 100
    ms = 200
    wait_time = constant(0)

    @task
    def sleep(self) -> None:
        self.ask(f"/lab/sleep/awaited?ms={self.milliseconds()}", name="/lab/sleep/awaited")
