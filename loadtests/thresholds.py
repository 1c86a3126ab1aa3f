"""Turns a run into a verdict: where it misses what was asked of it, Locust exits with 1 and says why."""

import logging

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import WorkerRunner

log = logging.getLogger("thresholds")


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    add = parser.add_argument
    add("--max-failed", type=float, default=0.01, help="Threshold: largest share of failed requests, 0 to 1")
    add("--max-tail-ms", type=float, default=0.0, help="Threshold: largest p99 in milliseconds; 0 for any")
    add("--min-rate", type=float, default=0.0, help="Threshold: smallest number of requests a second; 0 for any")


@events.quitting.add_listener
def judge(environment: Environment, **_: object) -> None:
    if environment.runner is None or isinstance(environment.runner, WorkerRunner):
        return  # the master has everybody's figures
    missed = misses(environment)
    for sentence in missed:
        log.error(sentence)
    if missed:
        environment.process_exit_code = 1


def misses(environment: Environment) -> list[str]:
    total, options = environment.stats.total, environment.parsed_options
    assert options is not None
    p99_ms = total.get_response_time_percentile(0.99) or 0
    checks = [
        (total.num_requests > 0, "No request was answered."),
        (
            total.fail_ratio <= options.max_failed,
            f"{total.fail_ratio:.1%} of the requests failed; {options.max_failed:.1%} may.",
        ),
        (
            not options.max_tail_ms or p99_ms <= options.max_tail_ms,
            f"The p99 is {p99_ms:.0f} ms; it may be {options.max_tail_ms:g} ms.",
        ),
        (
            total.total_rps >= options.min_rate,
            f"{total.total_rps:.0f} requests a second were done, not {options.min_rate:g}.",
        ),
    ]
    return [sentence for held, sentence in checks if not held]
