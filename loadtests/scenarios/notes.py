"""How many notes can be written and read? The scenario of the plain feature, to copy for one of your own.

    locust -f loadtests/scenarios/notes.py --host http://127.0.0.1:8000 --users 50

The class says what to look for.
"""

from locust import between, task
from locust.exception import StopUser

from loadtests.visitor import Ping, Visitor

__all__ = ["Ping", "WritingNotes"]


class WritingNotes(Visitor):
    """How many notes can be written and read?

    Each of 50 users reads a note ten times as often as it writes one. Look for answers a second that grow with the users,
    for a ping of a few milliseconds, and for the busiest of Postgres, the workers and Locust.
    """

    does = "writing and reading notes"
    wait_time = between(0.01, 0.1)

    def on_start(self) -> None:
        self.headers = self.key_headers()
        self.write()

    @task(1)
    def write(self) -> None:
        made = self.ask("/notes", method="POST", json={"text": "Buy milk."}, headers=self.headers, expect=(201,))
        if made.status_code != 201:
            raise StopUser
        self.path = made.headers["Location"]

    @task(10)
    def read(self) -> None:
        self.ask(self.path, name="/notes/{id}", headers=self.headers)
