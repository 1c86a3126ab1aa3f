"""The users that every scenario's users are made from: fast, and strict about answers. No scenario of its own."""

from typing import Any

from locust import FastHttpUser, constant_pacing, task

from loadtests import options, thresholds, workers_tab  # noqa: F401 - each listens to Locust's events


class Visitor(FastHttpUser):
    abstract = True
    # Seconds. A frozen service is to be seen as latency, not as a failure.
    connection_timeout = 60.0
    network_timeout = 60.0

    def ask(
        self, path: str, *, method: str = "GET", expect: tuple[int, ...] = (200,), location: str = "", **request: Any
    ) -> Any:
        """The answer; counted as failed if its status is none of those expected, or if it leads elsewhere."""
        with self.client.request(method, path, catch_response=True, allow_redirects=False, **request) as response:
            status, headers = response.status_code, response.headers or {}
            if status in expect and (not location or headers.get("Location") == location):
                response.success()
            elif status in expect:
                response.failure(f"leads to {headers.get('Location')}, not {location}")
            elif status:
                response.failure(f"{status}, not {' or '.join(map(str, expect))}")
        return response  # no status: Locust counts what the connection ended with


class Ping(Visitor):
    """The guest at the next table, who only wants a glass of water: a route that does nothing, ten times a second."""

    fixed_count = 1
    wait_time = constant_pacing(0.1)

    @task
    def ping(self) -> None:
        self.ask("/livez", name="ping")
