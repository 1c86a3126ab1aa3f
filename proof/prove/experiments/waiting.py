"""A worker that waits with `await` answers others meanwhile; one that waits without it stops everybody."""

from proof.prove.claims import Claim, Ratio, at_least, figure, ratios
from proof.prove.evidence import Evidence, Results, ping_p99s_ms, rates
from proof.prove.experiment import Experiment, Scope
from proof.prove.window import Load, Window

SLEEP_MS = 50
MANY = 1000
THOUSAND = f"awaited, {MANY} users who sleep long"
LONG_SLEEP_MS = 500
"""Milliseconds that each of many users sleeps. That makes 2,000 requests a second, which one worker can do."""
FEW = 4
STEPS = (1, 10)
SHORT_S = 0.5
"""Few users for a short time: these are points of the chart, and no claim rests on them."""
BUSY_MS = 8.0


def awaited(users: int, ms: int = SLEEP_MS) -> Load:
    return Load(f"/lab/sleep/awaited?ms={ms}", users)


def blocking(users: int, ms: int = SLEEP_MS) -> Load:
    return Load(f"/lab/sleep/blocking?ms={ms}", users)


def await_name(users: int) -> str:
    return f"awaited, {users} users"


def block_name(users: int) -> str:
    return f"blocking, {users} users"


def _awaiting_windows(scope: Scope) -> list[Window]:
    few = [count for count in STEPS if count < scope.users]
    return [
        *(Window(await_name(count), SHORT_S, load=awaited(count)) for count in few),
        *(Window(block_name(count), SHORT_S, load=blocking(count)) for count in few),
        Window(await_name(scope.users), scope.seconds, load=awaited(scope.users)),
        Window(block_name(scope.users), scope.seconds, load=blocking(scope.users)),
        Window(THOUSAND, scope.seconds, load=awaited(MANY, LONG_SLEEP_MS)),
    ]


def _judge_awaiting(results: Results, scope: Scope) -> list[Claim]:
    pair = [await_name(scope.users), block_name(scope.users)]
    awaited_rates, blocking_rates = (rates(results, name) for name in pair)
    at_once = [rate * LONG_SLEEP_MS / 1000 for rate in rates(results, THOUSAND)]
    return [
        Evidence(results, pair).claim(
            "awaiting",
            f"One worker that awaits serves {scope.users} users at once; one that blocks serves them one by one.",
            compares="requests a second awaited / blocking",
            # As many as there are users is what arithmetic allows; half of it leaves room for the server's own work.
            bound=at_least(scope.users / 2),
            ratios=ratios(awaited_rates, blocking_rates),
            figures=[
                figure(f"awaited sleep of {SLEEP_MS} ms", awaited_rates, "requests/s"),
                figure(f"blocking sleep of {SLEEP_MS} ms", blocking_rates, "requests/s"),
            ],
            obstacles=scope.crowded,
        ),
        Evidence(results, [THOUSAND]).claim(
            "thousand",
            f"One worker has {MANY:,} requests under way at the same time.",
            compares=f"sleeps under way at once / {MANY} users",
            bound=at_least(0.8),
            ratios=Ratio(tuple(value / MANY for value in at_once)),
            figures=[
                figure(f"awaited sleep of {LONG_SLEEP_MS} ms", rates(results, THOUSAND), "requests/s"),
                figure("under way at once", at_once, "requests"),
            ],
            obstacles=scope.crowded,
        ),
    ]


def _freezing_windows(scope: Scope) -> list[Window]:
    return [
        Window("nothing", scope.seconds, ping=True),
        Window("awaited", scope.seconds, load=awaited(FEW), ping=True),
        Window("blocking", scope.seconds, load=blocking(FEW), ping=True),
    ]


def _judge_freezing(results: Results, scope: Scope) -> list[Claim]:
    pings = {beside: ping_p99s_ms(results, beside) for beside in ("nothing", "awaited", "blocking")}
    return [
        Evidence(results, ["awaited", "blocking"]).claim(
            "freezing",
            "A blocking call in `async def` freezes everyone; the same call awaited disturbs nobody.",
            compares="p99 of a ping beside blocking / beside awaited",
            bound=at_least(10),
            ratios=ratios(pings["blocking"], pings["awaited"]),
            figures=[figure(f"ping beside {beside}", p99s, "ms p99") for beside, p99s in pings.items()],
            obstacles=scope.crowded,
            excuses=busy(results, "nothing"),
        )
    ]


def busy(results: Results, nothing: str) -> list[str]:
    """A ping beside nothing takes a millisecond or two. Where it takes longer, somebody else holds the cores."""
    p99_ms = figure("", ping_p99s_ms(results, nothing), "ms").value
    return [f"a ping beside nothing took {p99_ms:.0f} ms p99: the machine is busy"] if p99_ms > BUSY_MS else []


EXPERIMENTS = [
    Experiment("awaiting", "What does one worker do while it waits?", _awaiting_windows, _judge_awaiting),
    Experiment("freezing", "What does one blocking call do to the others?", _freezing_windows, _judge_freezing),
]
