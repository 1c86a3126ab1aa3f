"""Arithmetic from a load and the costs of requests to workers, pods, connections, shards, memory and network."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from proof.capacity.costs import Cost

GENERATIONS = 2
"""A rollout runs old and new together."""
REDIS_CONNECTIONS = 8
"""Connections of one worker, at most."""
FLUSH_S = 0.5
"""Clicks go to Postgres twice a second."""


MOST = 1e12


def _number(usual: float, says: str, *, most: float = MOST, may_be_none: bool = False) -> Any:
    """Describe an option: its default `usual`, and its meaning."""
    return field(default=usual, metadata={"says": says, "most": most, "may_be_none": may_be_none})


_load = partial(_number, may_be_none=True)


@dataclass(frozen=True)
class Load:
    redirects_per_second: float = _load(0.0, "links followed")
    creates_per_second: float = _load(0.0, "links created")
    reads_per_second: float = _load(0.0, "links read")
    qrs_per_second: float = _load(0.0, "QR codes drawn")
    connections: int = _load(0, "idle client connections that the workers hold; behind a proxy, few")
    links: int = _load(1_000_000, "links that Redis keeps")
    popular: int = _number(100_000, "links that most clicks are of")
    miss_share: float = _load(0.01, "share of redirects that Redis does not know", most=1)
    log_share: float = _load(0.01, "ACCESS_LOG_SAMPLE", most=1)

    def times(self, factor: float) -> "Load":
        """Multiply the traffic by a factor. The number of stored links stays."""
        rates = {name: getattr(self, name) * factor for name in vars(self) if name.endswith("_per_second")}
        return replace(self, **rates, connections=math.ceil(self.connections * factor))


@dataclass(frozen=True)
class Boxes:
    """The assumed sizes of machines, Redis and Postgres."""

    cpus: int = _number(16, "of a box")
    network_gbit: float = _number(10.0, "of a box")
    busiest_worker: float = _number(0.8, "share of its core that the busiest worker may use", most=1)
    backend_share: float = _number(0.6, "share of their CPUs that Redis and Postgres may use", most=1)
    redis_gb: float = _number(8.0, "memory of a Redis shard")
    redis_clients: int = _number(10_000, "maxclients of a Redis")
    postgres_cpus: int = _number(16, "of Postgres")
    postgres_connections: int = _number(400, "its max_connections, less a reserve")
    pod_workers: int = _number(4, "workers of a pod that has several")


@dataclass(frozen=True)
class Need:
    """`share` is of one: 0.5 is half a box, and 3 is three Redis shards."""

    name: str
    share: float
    mend: str


@dataclass(frozen=True)
class Capacity:
    load: Load
    workers: int
    boxes: int
    pods: int
    """Pods of `pod_workers` workers each."""
    memory_gb: float
    memory_alone_gb: float
    """Memory with one worker in each pod."""
    postgres_cpus: float
    postgres_connections: int
    redis_shards: int
    redis_memory_gb: float
    network_gbit: float
    log_mb_per_s: float
    clicks_after_s: float
    needs: tuple[Need, ...]

    @property
    def bottleneck(self) -> Need:
        return max(self.needs, key=lambda need: need.share)


def plan(load: Load, costs: Mapping[str, Cost], boxes: Boxes) -> Capacity:
    cost = {name: each.value for name, each in costs.items()}
    misses = load.redirects_per_second * load.miss_share
    reads = load.reads_per_second + misses
    cpu_s = 1e-6 * (
        load.redirects_per_second * cost["redirect_us"]
        + reads * cost["read_us"]
        + load.creates_per_second * cost["create_us"]
        + load.qrs_per_second * cost["qr_us"]
    )
    # A worker of a full box does less than one that is alone, and the mean one stays below the busiest.
    crowded = 1 + cost["contention"] * (boxes.cpus - 1)
    workers = max(1, math.ceil(cpu_s * crowded * cost["unevenness"] / boxes.busiest_worker))
    rows_per_s, clicks_after_s = _clicks(load, cost)
    redis_cpu = load.redirects_per_second * cost["redis_us"] * 1e-6 / boxes.backend_share
    postgres_cpus = 1e-6 * (
        reads * cost["postgres_read_us"]
        + load.creates_per_second * cost["postgres_create_us"]
        + rows_per_s * cost["click_row_us"]
    )
    redis_gb = load.links * cost["link_bytes"] / 2**30
    network_gbit = 8e-9 * load.redirects_per_second * cost["exchange_bytes"]
    connections_gb = load.connections * cost["connection_kb"] / 2**20
    boxes_needed = math.ceil(workers / boxes.cpus)
    pods = math.ceil(workers / boxes.pod_workers)
    needs = (
        Need("workers", workers / boxes.cpus, "more CPUs: another box, or more pods"),
        Need("network", network_gbit / boxes.network_gbit, "more boxes, or a cache at the edge"),
        Need("Redis CPU", redis_cpu, "another shard"),
        Need("Redis memory", redis_gb / boxes.redis_gb, "another shard, or fewer links kept"),
        Need(
            "Redis clients", workers * REDIS_CONNECTIONS / boxes.redis_clients, "raise maxclients, or a proxy before it"
        ),
        Need("Postgres CPU", postgres_cpus / boxes.postgres_cpus / boxes.backend_share, "a read replica for misses"),
        Need(
            "Postgres connections",
            GENERATIONS * workers / boxes.postgres_connections,
            "a pooler, as each worker holds one",
        ),
    )
    return Capacity(
        load=load,
        workers=workers,
        boxes=boxes_needed,
        pods=pods,
        memory_gb=connections_gb + (workers * cost["worker_mb"] + pods * cost["master_mb"]) / 1024,
        memory_alone_gb=connections_gb + workers * (cost["worker_alone_mb"] + cost["master_mb"]) / 1024,
        postgres_cpus=postgres_cpus / boxes.backend_share,
        postgres_connections=GENERATIONS * workers,
        redis_shards=max(1, math.ceil(max(redis_cpu, redis_gb / boxes.redis_gb))),
        redis_memory_gb=redis_gb,
        network_gbit=network_gbit,
        log_mb_per_s=load.redirects_per_second * load.log_share * cost["log_bytes"] / 1e6,
        clicks_after_s=clicks_after_s,
        needs=needs,
    )


def _clicks(load: Load, cost: Mapping[str, float]) -> tuple[float, float]:
    """Rows of Postgres a second, and the time between two batches: a batch has a row for each link that was followed."""

    def rows(every_s: float) -> float:
        return load.popular * -math.expm1(-load.redirects_per_second * every_s / load.popular)

    every_s = FLUSH_S
    for _ in range(20):  # a batch that takes longer gathers more links, and no more than there are
        every_s = max(FLUSH_S, rows(every_s) * cost["click_row_takes_us"] * 1e-6)
    return rows(every_s) / every_s, every_s


def walk(load: Load, costs: Mapping[str, Cost], boxes: Boxes) -> Iterator[Capacity]:
    """Yield tenfold steps, from a thousandth of the load, or what one box does, to all of it."""
    for exponent in (3, 2, 1, 0):
        yield plan(load.times(10.0**-exponent), costs, boxes)
