"""What happens to clients that hold a stream open while the service works, and while it reloads?

    locust -f loadtests/scenarios/streams.py --host http://127.0.0.1:8000 --users 200 --spawn-rate 50

The class says what to look for.
"""

import itertools
import random
import time

import gevent
from locust import constant, task
from locust.exception import StopUser

from loadtests.streams import Cut, Told, read_events, read_socket
from loadtests.visitor import Ping, Visitor

__all__ = ["Ping", "Streams"]

KINDS = itertools.cycle([("WS", read_socket), ("SSE", read_events)])
CLICK_EVERY_S = (2, 6)
REST_S = 1.0
"""Seconds after which a client that was cut tries again."""


class Streams(Visitor):
    """What happens to clients that hold a stream open while the service works, and while it reloads?

    Each of 100 users watches the clicks of a link of its own, half of them by a WebSocket and half by server-sent events,
    and clicks now and then. Look for `news` within about a second of a click, for memory that grows little, and for a CPU
    that has next to nothing to do. Then reload the service (`make reload`). Each stream is `told`, which is a goodbye, and is
    `back` one to three seconds later, on a new worker. One that is `cut` ended without a word, and counts as a failure.
    """

    does = "WebSockets and event streams that are held"
    crowd = 100
    wait_time = constant(0)

    def on_start(self) -> None:
        self.headers = self.key_headers()
        made = self.ask(
            "/links", method="POST", json={"url": "https://www.python.org/"}, headers=self.headers, expect=(201,)
        )
        if made.status_code != 201:
            raise StopUser
        self.code = made.json()["code"]
        self.kind, self.read = next(KINDS)
        self.since_s: tuple[str, float] | None = None
        """It is what the next message ends, and when that began."""

    @task
    def hold(self) -> None:
        if self.since_s is None:
            self.since_s = "open", time.monotonic()
        clicks = gevent.spawn(self.click_now_and_then)
        try:
            for _ in self.read(f"{self.host}/links/{self.code}/live", self.headers):
                if self.since_s is not None:
                    self.count(*self.since_s)
                self.since_s = None
        except Told as goodbye:
            self.since_s = "back", time.monotonic()
            self.count("told", self.since_s[1])
            gevent.sleep(goodbye.after_s)
        except Cut as error:
            self.since_s = "back", time.monotonic()
            self.count("cut", self.since_s[1], error)
            gevent.sleep(REST_S)
        finally:
            clicks.kill()

    def click_now_and_then(self) -> None:
        while True:
            gevent.sleep(random.uniform(*CLICK_EVERY_S))
            if self.since_s is None:
                self.since_s = "news", time.monotonic()
                self.ask(f"/r/{self.code}", name="/r/{code}", expect=(307,))

    def count(self, what: str, since_s: float, error: Exception | None = None) -> None:
        self.note(self.kind, f"/links/{{code}}/live {what}", since_s, error)
