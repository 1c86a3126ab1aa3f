"""How many requests a server answers and what each costs it: every route by every server in turn, round after round."""

from collections.abc import Callable
from contextlib import ExitStack

from proof.bench.deployment import Backends, Deployment, deployment
from proof.bench.sample import Sample, Series, measure
from proof.bench.servers import NGINX

ROUTES = {"redirect": "/r/{}", "read": "/links/{}", "create": None, "qr": "/links/{}/qr?scale=8&error=m"}
LIMIT = ("nginx",) if NGINX else ()
BOTH = ("ours", "textbook")
ALSO = {
    "redirect": ("ours, 1 of 100 logged", "textbook, logging", "ceiling", "stock ceiling", *LIMIT),
    "read": ("textbook, logging",),
}


def servers_of(route: str) -> tuple[str, ...]:
    return (*BOTH, *ALSO.get(route, ()))


CONNECTIONS = 64
DRAWING_CONNECTIONS = 8
"""Fewer than may wait for the CPU lane, beyond which ours would refuse."""

Progress = Callable[[str], None]
Samples = dict[str, dict[str, Series]]
"""Measurements by route and server."""


def compare(backends: Backends, *, rounds: int, seconds: int, routes: list[str], progress: Progress) -> Samples:
    """One worker each: the other core is the generator's and the backends'."""
    with ExitStack() as stack:
        names = {name for route in routes for name in servers_of(route)}
        servers = {name: stack.enter_context(deployment(name, backends)) for name in sorted(names)}
        samples: Samples = {route: {name: Series() for name in servers_of(route)} for route in routes}
        for number in range(rounds + 1):
            for route in routes:
                order = list(servers_of(route))
                for name in order if number % 2 else reversed(order):
                    progress(f"{route}, {name}")
                    sample = _measure(servers[name], backends, route, seconds=seconds if number else 1)
                    if number:  # the first round fills caches and pools
                        samples[route][name].samples.append(sample)
    return samples


def _measure(server: Deployment, backends: Backends, route: str, *, seconds: int) -> Sample:
    pattern = ROUTES[route]
    paths = [pattern.format(code) for code in server.codes] if pattern else []
    connections = DRAWING_CONNECTIONS if route == "qr" else CONNECTIONS
    return measure(server, backends, paths, connections=connections, seconds=seconds)
