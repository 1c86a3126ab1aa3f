"""An experiment is two things: the windows to measure, and the claims that follow from the samples. It does not measure itself."""

from collections.abc import Callable
from dataclasses import dataclass

from proof.prove.claims import Claim
from proof.prove.evidence import Results
from proof.prove.window import Window


@dataclass(frozen=True)
class Scope:
    """The inputs of one run: the person's options, and the facts of the machine and the service."""

    counts: tuple[int, ...]
    """Numbers of workers to compare, ascending; of a deployment, the one it has."""
    most: int
    """The largest of them for which each worker has a core."""
    users: int
    seconds: float
    connections: int
    lane_bound: int
    """CPU jobs that one worker takes: those that run and those that wait."""
    ms: int = 200
    """Milliseconds of a CPU job beside which a ping is measured."""
    own: bool = True
    """The services are ours; else a deployment with the workers it has."""
    link: str = ""
    """The code of a link to follow; empty where there are none."""
    jobs: bool = False
    """The service has jobs, and the lab enqueues some."""

    @property
    def crowded(self) -> tuple[str, ...]:
        """Why a claim about one worker cannot be told: a ping and a load would meet different ones."""
        several = not self.own and self.most > 1
        return (f"this is about one worker, and the deployment has {self.most}",) if several else ()


@dataclass(frozen=True)
class Experiment:
    name: str
    question: str
    windows: Callable[[Scope], list[Window]]
    judge: Callable[[Results, Scope], list[Claim]]
    once: bool = False
    """Measured once, and before all others: memory that a worker has taken it does not give back."""
