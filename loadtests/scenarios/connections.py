"""What do many clients cost that are connected and say little?

ulimit -n 20000
locust -f loadtests/scenarios/connections.py --host http://127.0.0.1:8000 --users 5000 --spawn-rate 100

The class says what to look for.
"""

from locust import constant_pacing, task

from loadtests.visitor import Visitor


class Regular(Visitor):
    """What do many clients cost that are connected and say little?

    Each of 1,000 users keeps its connection and asks once in ten seconds. Look for a tenth of the users in answers a
    second, and for a memory that grows by some 15 kB a connection.
    """

    does = "many connections that say little"
    crowd = 1000
    wait_time = constant_pacing(10)

    @task
    def look_in(self) -> None:
        self.ask("/livez")
