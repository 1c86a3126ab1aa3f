"""The third place for work: as a job it is answered at once, and a runner does it. The same work arrives in the lane."""

from proof.prove.claims import Claim, at_least, figure, ratios
from proof.prove.evidence import Evidence, Results, medians_ms, ping_p99s_ms
from proof.prove.experiment import Experiment, Scope
from proof.prove.experiments.waiting import busy
from proof.prove.window import Load, Window

JOB_PATH = "/lab/cpu/in-job"
PATHS = {"on the loop": "/lab/cpu/on-loop", "in the lane": "/lab/cpu/in-lane", "as a job": JOB_PATH}
SHARE = 0.6
"""Share of a core that the arriving work takes."""
LASTS_S = 2.5


def _windows(scope: Scope) -> list[Window]:
    if not scope.jobs:
        return []
    seconds, arrivals = max(LASTS_S, scope.seconds), SHARE * 1000 / scope.ms
    loads = {name: Load(f"{path}?ms={scope.ms}", 1, arrivals=arrivals) for name, path in PATHS.items()}
    return [
        Window("nothing", seconds, ping=True),
        *(Window(name, seconds, load=load, ping=True) for name, load in loads.items()),
    ]


def _judge(results: Results, scope: Scope) -> list[Claim]:
    pings = {beside: ping_p99s_ms(results, beside) for beside in ("nothing", *PATHS)}
    lane, job = (medians_ms(results, name) for name in ("in the lane", "as a job"))
    obstacles = [*scope.crowded, *([] if scope.jobs else ["this service has no jobs"])]
    return [
        Evidence(results, ["in the lane", "as a job"]).claim(
            "job",
            "A job is answered in milliseconds, however long its work takes.",
            compares="p50 of an answer: work in the lane / as a job",
            bound=at_least(5),
            ratios=ratios(lane, job),
            figures=[figure("in the lane", lane, "ms p50"), figure("as a job", job, "ms p50")],
            obstacles=obstacles,
        ),
        Evidence(results, ["on the loop", "as a job"]).claim(
            "job-ping",
            "Work as a job leaves the event loop free: a runner does it, in a process of its own.",
            compares="p99 of a ping beside work on the loop / as a job",
            bound=at_least(10),
            ratios=ratios(pings["on the loop"], pings["as a job"]),
            figures=[figure(f"ping beside {beside}", values, "ms p99") for beside, values in pings.items()],
            obstacles=obstacles,
            excuses=busy(results, "nothing"),
        ),
    ]


EXPERIMENTS = [Experiment("jobs", "When is work a job?", _windows, _judge)]
