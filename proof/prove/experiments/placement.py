"""The same CPU work in four places, and what a ping feels beside each: the honest answer to "just use `def`"."""

from proof.prove.claims import Claim, at_least, figure, ratios
from proof.prove.evidence import Evidence, Results, ping_p99s_ms, rates
from proof.prove.experiment import Experiment, Scope
from proof.prove.experiments.waiting import busy
from proof.prove.window import Load, Window

PLACES = ("on-loop", "in-threadpool", "in-lane", "in-process")
USERS = 4

CLAIMS = (
    (
        "lane",
        "CPU work in the lane leaves the event loop responsive; the same work in `async def` freezes it.",
        ("on-loop", "in-lane", 10),
    ),
    (
        "def",
        "Plain `def` alone is not enough: the threads of the pool fight the event loop for Python's one lock.",
        ("in-threadpool", "in-lane", 2),
    ),
    ("process", "In a process of its own, CPU work leaves the event loop free.", ("on-loop", "in-process", 10)),
)


def _windows(scope: Scope) -> list[Window]:
    seconds = 1.5 * scope.seconds  # beside work on the loop a ping takes longer than a second
    loads = {place: Load(f"/lab/cpu/{place}?ms={scope.ms}", USERS) for place in PLACES}
    return [
        Window("nothing", seconds, ping=True),
        *(Window(place, seconds, load=load, ping=True) for place, load in loads.items()),
    ]


def _judge(results: Results, scope: Scope) -> list[Claim]:
    pings = {beside: ping_p99s_ms(results, beside) for beside in ("nothing", *PLACES)}
    return [
        Evidence(results, [worse, better]).claim(
            name,
            says,
            compares=f"p99 of a ping beside {worse} / beside {better}",
            bound=at_least(least),
            ratios=ratios(pings[worse], pings[better]),
            figures=[
                *(figure(f"ping beside {beside}", pings[beside], "ms p99") for beside in ("nothing", worse, better)),
                *(figure(f"jobs done {place}", rates(results, place), "a second") for place in (worse, better)),
            ],
            obstacles=scope.crowded,
            excuses=busy(results, "nothing"),
        )
        for name, says, (worse, better, least) in CLAIMS
    ]


EXPERIMENTS = [Experiment("placement", "Where should CPU work run?", _windows, _judge)]
