"""Whether the work reaches every worker, which nobody arranges: they all listen on one socket."""

from proof.prove.claims import Claim, Ratio, at_most, figure
from proof.prove.evidence import Evidence, Results
from proof.prove.experiment import Experiment, Scope
from proof.prove.window import Load, Sample, Window

JOB_MS = 10
USERS_A_WORKER = 8
WINDOW = "a new connection for each request"


def _windows(scope: Scope) -> list[Window]:
    load = Load(f"/lab/cpu/in-lane?ms={JOB_MS}", USERS_A_WORKER * scope.most, fresh=True)
    return [Window(WINDOW, scope.seconds, workers=scope.most, load=load)]


def unfairness(sample: Sample, workers: int) -> float:
    """The busiest worker's requests over the mean: 1 is fair, `workers` is one worker doing everything."""
    counts = sample.by_worker.values()
    return max(counts, default=0) * workers / max(1, sum(counts))


def _judge(results: Results, scope: Scope) -> list[Claim]:
    samples = results.get(WINDOW, ())
    obstacles = [] if scope.most > 1 else ["it takes two cores, and two workers, to see them share"]
    if any("" in sample.by_worker for sample in samples):
        obstacles.append("the deployment does not name its workers (EXPOSE_WORKER)")
    workers = sorted({worker for sample in samples for worker in sample.by_worker})
    idle = 0 < len(workers) < scope.most and not obstacles
    return [
        Evidence(results, [WINDOW], allowed=("503",)).claim(
            "spread",
            "Every worker takes its share of the work.",
            compares="requests of the busiest worker / of the mean one",
            bound=at_most(1.5),
            ratios=Ratio(tuple(unfairness(sample, scope.most) for sample in samples)),
            figures=[
                figure(worker, [sample.by_worker.get(worker, 0) for sample in samples], "requests")
                for worker in workers
            ],
            faults=[f"{len(workers)} of {scope.most} workers answered"] if idle else [],
            obstacles=obstacles,
        )
    ]


EXPERIMENTS = [Experiment("spread", "Who does the work?", _windows, _judge)]
