"""Where should CPU work run, and what does another worker add to it?

    locust -f loadtests/scenarios/cpu.py --host http://127.0.0.1:8000 --users 8 --place in-lane --ms 50

First change the place, with one worker: the requests per second stay the same, for one core is one core. The ping is
slow beside `on-loop`, uneven beside `in-threadpool`, quick beside `in-lane` and `in-process`. Then change the workers
(WEB_CONCURRENCY): the requests per second grow with them, up to the cores. In the tab "Workers": CPU near 100 % for each,
and a fairness near 1. DrawingQr is the same in real work. A full lane answers 503 and means it: that is no failure here.
"""

from locust import constant, task
from locust.exception import StopUser

from loadtests.options import option
from loadtests.visitor import Ping, Visitor

__all__ = ["Computing", "DrawingQr", "Ping"]

OK_OR_FULL = (200, 503)


class Computing(Visitor):
    wait_time = constant(0)

    @task
    def spin(self) -> None:
        path = f"/lab/cpu/{option(self.environment, 'place')}"
        self.ask(f"{path}?ms={option(self.environment, 'ms')}", name=path, expect=OK_OR_FULL)


class DrawingQr(Visitor):
    wait_time = constant(0)

    def on_start(self) -> None:
        made = self.ask("/links", method="POST", json={"url": "https://www.python.org/about/"}, expect=(201,))
        if made.status_code != 201:
            raise StopUser
        self.path = f"/links/{made.json()['code']}/qr"

    @task
    def draw(self) -> None:
        self.ask(f"{self.path}?format=png&scale=10&error=h", name="/links/{code}/qr", expect=OK_OR_FULL)
