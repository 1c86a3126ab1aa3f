"""The cost of connections, and the behaviour at the bound of the CPU lane."""

from proof.prove.claims import Claim, at_least, at_most, figure, ratios
from proof.prove.evidence import Evidence, Results, medians_ms
from proof.prove.experiment import Experiment, Scope
from proof.prove.window import Load, Window

JOB_MS = 50
LANE = f"/lab/cpu/in-lane?ms={JOB_MS}"
CROWD = 3
"""Times the lane's bound, in users: two of three are told to come back."""
LONGEST_S = 4.0
EMPTY, FULL = "no connections", "idle connections"
ALONE, CROWDED = "one user", "a crowd"


def _connection_windows(scope: Scope) -> list[Window]:
    held = Load("/livez", scope.connections, hold=True)
    return [Window(EMPTY, 0.5, memory=True), Window(FULL, scope.seconds, load=held, memory=True)]


def _judge_connections(results: Results, scope: Scope) -> list[Claim]:
    empty, full = results.get(EMPTY, ()), results.get(FULL, ())
    connected = [float(sample.connected) for sample in full]
    worker_kb = [sample.memory_mb * 1024 for sample in empty]
    each_kb = [(f.memory_mb * 1024 - e) / max(1, f.connected) for e, f in zip(worker_kb, full, strict=True)]
    lost = [sample.connected - sample.done for sample in full if sample.done < sample.connected]
    few = min(connected, default=0) < scope.connections
    return [
        Evidence(results, [FULL]).claim(
            "connections",
            "Connections are cheap, processes are not: one worker holds thousands of idle clients.",
            compares="memory of a worker / of a connection",
            bound=at_least(1000),
            ratios=ratios(worker_kb, each_kb),
            figures=[
                figure("idle keep-alive connections to one worker", connected, "connections"),
                figure("a connection", each_kb, "kB"),
                figure("a worker without connections", [kb / 1024 for kb in worker_kb], "MB"),
                figure("answered after the silence", [sample.done for sample in full], "connections"),
            ],
            faults=[f"{count} idle connections were not answered" for count in lost],
            obstacles=[*scope.crowded, *(["not all connections could be opened in time"] if few else [])],
        )
    ]


def _overload_windows(scope: Scope) -> list[Window]:
    crowd = CROWD * scope.lane_bound
    # As long as the whole crowd in turn would take, so that an unbounded queue shows.
    long_enough_s = min(LONGEST_S, max(scope.seconds, crowd * JOB_MS / 1000))
    return [
        Window(ALONE, min(1.0, scope.seconds), load=Load(LANE, 1)),
        Window(CROWDED, long_enough_s, load=Load(LANE, crowd)),
    ]


def _judge_overload(results: Results, scope: Scope) -> list[Claim]:
    crowd = results.get(CROWDED, ())
    alone, served = medians_ms(results, ALONE), [sample.latency_ms.p99 for sample in crowd]
    refused = [sample.statuses.get("503", 0) for sample in crowd]
    users = CROWD * scope.lane_bound
    endless = f"{users} users, a bound of {scope.lane_bound}, and nobody was told to come back: there is no bound"
    return [
        Evidence(results, [ALONE, CROWDED], allowed=("503",)).claim(
            "overload",
            "A full lane says no at once: who is served has waited for a bounded queue, not for everybody.",
            compares="p99 of served CPU jobs in a crowd / one job alone",
            # The length of the queue, and half of it for the loop, the refusals and the noise.
            bound=at_most(1.5 * scope.lane_bound),
            ratios=ratios(served, alone),
            figures=[
                figure("one job alone", alone, "ms"),
                figure(f"served, among {users} users", served, "ms p99"),
                figure("told to come back (503)", refused, "requests"),
                figure("bound of the lane: running and waiting", [scope.lane_bound], "jobs"),
            ],
            faults=[endless] if crowd and not scope.crowded and not any(refused) else [],
            obstacles=scope.crowded,
        )
    ]


EXPERIMENTS = [
    Experiment("connections", "What does a connection cost?", _connection_windows, _judge_connections, once=True),
    Experiment("overload", "What happens when more comes than can be done?", _overload_windows, _judge_overload),
]
