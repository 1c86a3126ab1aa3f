"""The cost of each switch on the redirect and the read: the same service with one thing turned on or off, in one run."""

import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from proof.bench.deployment import Backends, Deployment, deployment
from proof.bench.redis_tls import redis_over_tls
from proof.bench.routes import CONNECTIONS, ROUTES, Progress
from proof.bench.sample import Sample, Series, measure

TRACING = {"OTEL_SERVICE_NAME": "bench", "OTEL_TRACES_SAMPLER": "parentbased_traceidratio"}
DEFAULTS = "the defaults"
KEY = secrets.token_urlsafe(24)


@dataclass(frozen=True)
class Switch:
    variables: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[str, ...] = ("redirect", "read")
    headers: Mapping[str, str] = field(default_factory=dict)
    traced: bool = False
    watched: bool = False
    over_tls: bool = False
    """Whether it talks to Redis over TLS."""


SWITCHES = {
    DEFAULTS: Switch(routes=("redirect", "read", "create")),
    "no access log": Switch({"ACCESS_LOG_SAMPLE": "0"}),
    "lines for people": Switch({"LOG_FORMAT": "console"}),
    "tracing 1 %": Switch({**TRACING, "OTEL_TRACES_SAMPLER_ARG": "0.01"}, traced=True),
    "tracing 100 %": Switch({**TRACING, "OTEL_TRACES_SAMPLER_ARG": "1"}, traced=True),
    "the lab, watched": Switch({"LAB_ENABLED": "true"}, watched=True),
    "EXPOSE_WORKER": Switch({"EXPOSE_WORKER": "true"}),
    "RATE_LIMIT": Switch({"RATE_LIMIT": "100000/second"}),
    "API_KEYS": Switch({"API_KEYS": f"bench:{KEY}"}, ("redirect", "read", "create"), {"X-API-Key": KEY}),
    "TLS to Redis": Switch(over_tls=True),
}
"""One at a time. To create a link takes a key where there are keys; the other two are open."""

Costs = dict[str, dict[str, Series]]
"""Measurements by route and switch."""


def compare(backends: Backends, *, rounds: int, seconds: int, progress: Progress) -> Costs:
    with ExitStack() as stack:
        collector, redis = stack.enter_context(_collector()), stack.enter_context(redis_over_tls())
        chosen = [name for name, switch in SWITCHES.items() if redis or not switch.over_tls]
        servers = {name: stack.enter_context(_started(SWITCHES[name], backends, collector, redis)) for name in chosen}
        routes = SWITCHES[DEFAULTS].routes
        costs: Costs = {
            route: {name: Series() for name in chosen if route in SWITCHES[name].routes} for route in routes
        }
        for number in range(rounds + 1):
            for name in chosen if number % 2 else reversed(chosen):
                for route in SWITCHES[name].routes:
                    progress(f"{route}, {name}")
                    sample = _measure(servers[name], SWITCHES[name], backends, route, seconds if number else 1)
                    if number:  # the first round fills caches and pools
                        costs[route][name].samples.append(sample)
    return costs


def _measure(server: Deployment, switch: Switch, backends: Backends, route: str, seconds: int) -> Sample:
    pattern = ROUTES[route]
    paths = [pattern.format(code) for code in server.codes] if pattern else []
    with _watching(server, switch):
        return measure(server, backends, paths, connections=CONNECTIONS, seconds=seconds)


@contextmanager
def _started(switch: Switch, backends: Backends, collector: str, redis: str) -> Iterator[Deployment]:
    variables = dict(switch.variables)
    if switch.traced:
        variables["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector
    if switch.over_tls:
        variables["REDIS_URL"] = redis
    with deployment("ours", backends, switch.headers, workers=1, **variables) as server:
        yield server


@contextmanager
def _watching(server: Deployment, switch: Switch) -> Iterator[None]:
    """Hold the stream of the live page open, as a browser does."""
    if not switch.watched:
        yield
        return
    connection = HTTPConnection(urlsplit(server.url).netloc, timeout=20)
    connection.request("GET", "/lab/events")
    answer = connection.getresponse()
    answer.readline()
    reader = threading.Thread(target=_drain, args=(answer,), daemon=True)
    reader.start()
    yield
    assert connection.sock
    connection.sock.shutdown(2)
    reader.join()
    connection.close()


def _drain(answer: HTTPResponse) -> None:
    while answer.readline():
        pass


class _Discard(BaseHTTPRequestHandler):
    """Takes spans and keeps none."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def _collector() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Discard) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
