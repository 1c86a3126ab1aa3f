"""The experiments, in the order in which they tell the lesson."""

from proof.prove.experiments import (
    arrivals,
    hot_path,
    jobs,
    limits,
    overlap,
    placement,
    queue,
    scaling,
    spread,
    waiting,
)

EXPERIMENTS = {
    experiment.name: experiment
    for module in (waiting, placement, jobs, scaling, overlap, limits, hot_path, arrivals, queue, spread)
    for experiment in module.EXPERIMENTS
}
