"""What does work of seconds and minutes cost the others, when it is a job?

    locust -f loadtests/scenarios/jobs.py --host http://127.0.0.1:8000 --users 4

It needs a runner of jobs: `make run`, `make locust` and Compose start one.
"""

import time
from typing import ClassVar

import gevent
from locust import constant, task

from loadtests.visitor import Ping, Visitor

__all__ = ["OrderingSheets", "Ping"]

LOOK_EVERY_S = 0.5
GIVE_UP_S = 300.0


class NotDone(Exception):
    """The job failed, or was not done in time."""


class OrderingSheets(Visitor):
    """What does work of seconds and minutes cost the others, when it is a job?

    Each of 4 users orders a ZIP of 100 QR codes (`POST /sheets`), looks twice a second how far it is, and downloads it. Look
    for an order that is answered in milliseconds, and for a ping that does not notice the work: a runner does it, in a
    process of its own. `ordered to done` is how long it took. More users wait for longer, because the queue is in Postgres
    and has room; another runner, on another core, makes it shorter.
    """

    does = "ordering sheets of QR codes as jobs"
    crowd = 4
    codes: ClassVar[int] = 100
    wait_time = constant(0)

    def on_start(self) -> None:
        self.headers = self.key_headers()

    @task
    def order(self) -> None:
        began_s = time.monotonic()
        urls = [f"https://www.example.org/{number}" for number in range(self.codes)]
        ordered = self.ask("/sheets", method="POST", json={"urls": urls}, headers=self.headers, expect=(202,))
        if ordered.status_code != 202:
            gevent.sleep(LOOK_EVERY_S)
            return
        path = f"/sheets/{ordered.json()['id']}"
        state = "waiting"
        while state in {"waiting", "running"} and time.monotonic() < began_s + GIVE_UP_S:
            gevent.sleep(LOOK_EVERY_S)
            seen = self.ask(path, name="/sheets/{id}", headers=self.headers)
            state = seen.json()["state"] if seen.status_code == 200 else state
        self.note(
            "JOB",
            "ordered to done",
            began_s,
            None if state == "done" else NotDone(f"It was {state} after {GIVE_UP_S:g} s or less."),
        )
        if state == "done":
            self.ask(f"{path}/file", name="/sheets/{id}/file", headers=self.headers)
