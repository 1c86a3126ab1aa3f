"""What do many clients cost that are connected and say little?

    ulimit -n 20000
    locust -f loadtests/scenarios/connections.py --host http://127.0.0.1:8000 --users 5000 --spawn-rate 500

Each user keeps its connection and asks once in ten seconds. In the graphs: a tenth of the users in requests per second,
and a response time that does not care how many there are. In the tab "Workers": the memory of a worker grows by some
15 kB a connection; and the connections are shared out once, when they are made, so the fairness stays what it is.
"""

from locust import constant_pacing, task

from loadtests.visitor import Visitor


class Regular(Visitor):
    wait_time = constant_pacing(10)

    @task
    def look_in(self) -> None:
        self.ask("/livez")
