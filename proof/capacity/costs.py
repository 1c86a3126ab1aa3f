"""The cost of a request, as `make bench` and `make prove` measured it. A cost that neither measured has a default."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

Json = dict[str, Any]


@dataclass(frozen=True)
class Cost:
    value: float
    unit: str
    source: str
    says: str


DEFAULTS = {
    "redirect_us": Cost(52, "us", "default", "CPU of a worker for a redirect whose target Redis has"),
    "read_us": Cost(
        350, "us", "default", "CPU of a worker to read a link from Postgres; a miss of the redirect costs as much"
    ),
    "create_us": Cost(780, "us", "default", "CPU of a worker to create a link"),
    "qr_us": Cost(3700, "us", "default", "CPU of a worker's lane to draw a QR code"),
    "redis_us": Cost(2.9, "us", "default", "CPU of Redis for a redirect, and its share of counting the click"),
    "postgres_read_us": Cost(55, "us", "default", "CPU of Postgres to read a link"),
    "postgres_create_us": Cost(155, "us", "default", "CPU of Postgres to create a link, one commit each"),
    "click_row_us": Cost(5, "us", "default", "CPU of Postgres to add what a batch has counted to one link"),
    "click_row_takes_us": Cost(8.5, "us", "default", "time it takes, as one worker at a time moves clicks"),
    "worker_mb": Cost(39, "MiB", "default", "memory of a worker, what it shares with others counted once"),
    "worker_alone_mb": Cost(50, "MiB", "default", "memory of a worker that shares with its master alone"),
    "master_mb": Cost(45, "MiB", "default", "memory of Gunicorn's master"),
    "connection_kb": Cost(7.7, "kB", "default", "memory of an idle connection"),
    "unevenness": Cost(1.29, "x", "default", "connections of the busiest of 4 workers / of the mean one"),
    "contention": Cost(0.0114, "", "default", "share of their work that the workers of a box do one at a time"),
    "link_bytes": Cost(170, "B", "default", "of Redis for a cached link with a URL of 60 characters, and its expiry"),
    "exchange_bytes": Cost(
        800, "B", "default", "on the wire for a redirect: 350 asked, 174 answered, the frames of both"
    ),
    "log_bytes": Cost(380, "B", "default", "of a line of the access log"),
}
"""Measured on 2 cores of a cloud machine: `make bench`, `make prove`."""

ROUTES = {"redirect": "redirect_us", "read": "read_us", "create": "create_us", "qr": "qr_us"}
BACKENDS = {"redirect": "redis_us", "read": "postgres_read_us", "create": "postgres_create_us"}


def read_costs(paths: list[Path]) -> dict[str, Cost]:
    """Read the costs. Later files win over earlier ones, and all files over the defaults.

    Raises:
        ValueError: a file is no proof.json and no bench.json.
    """
    costs = dict(DEFAULTS)
    for path in paths:
        try:
            found = json.loads(path.read_text())
            measured = dict(_of_bench(found) if "rounds" in found else _of_proof(found))
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ValueError(f"{path} is no proof.json and no bench.json") from error
        costs |= {name: Cost(value, costs[name].unit, path.name, costs[name].says) for name, value in measured.items()}
    return costs


def _of_bench(bench: Json) -> Iterator[tuple[str, float]]:
    for names, key in ((ROUTES, "cpu_us"), (BACKENDS, "backends_us")):
        for route, name in names.items():
            if rounds := bench["rounds"].get(route, {}).get("ours"):
                yield name, median(sample[key] for sample in rounds)
    figures = {figure["name"]: figure["value"] for figure in bench["figures"]}
    for name, figure in {
        "worker_mb": "memory of a worker (PSS, 4 workers), ours",
        "connection_kb": "an idle connection",
        "unevenness": "keep-alive connections over 4 workers, max / mean, ours",
    }.items():
        if figure in figures:
            yield name, figures[figure]


def _of_proof(proof: Json) -> Iterator[tuple[str, float]]:
    if law := proof.get("law"):
        yield "contention", law["contention"]
    windows = proof["results"].get("connections", {})
    if (none := windows.get("no connections")) and (held := windows.get("idle connections")):
        grown_mb = held[0]["memory_mb"] - none[0]["memory_mb"]
        yield "connection_kb", grown_mb * 2**20 / 1000 / max(1, held[0]["connected"])
