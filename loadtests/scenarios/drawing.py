"""How does the CPU lane do with real work, drawing QR codes?

    locust -f loadtests/scenarios/drawing.py --host http://127.0.0.1:8000 --users 8

A full lane answers 503 and means it: that is no failure here.
"""

from locust import constant, task
from locust.exception import StopUser

from loadtests.visitor import Ping, Visitor

__all__ = ["DrawingQr", "Ping"]


class DrawingQr(Visitor):
    """How does the CPU lane do with real work, drawing QR codes?

    Look for a ping of a few milliseconds beside codes that take some 17 ms each.
    """

    does = "drawing QR codes in the CPU lane"
    crowd = 8
    wait_time = constant(0)

    def on_start(self) -> None:
        made = self.ask("/links", method="POST", json={"url": "https://www.python.org/about/"}, expect=(201,))
        if made.status_code != 201:
            raise StopUser
        self.path = f"/links/{made.json()['code']}/qr"

    @task
    def draw(self) -> None:
        self.ask(f"{self.path}?format=png&scale=10&error=h", name="/links/{code}/qr", expect=(200, 503))
