"""The limits of the system for one process or one user, below which no worker could ever be ready."""

import os
import resource

from brigade.cli import CommandError
from brigade.sizing import GENERATIONS, Plan

OWN_FILES = 48
"""Files that a worker has open beside its connections to Postgres and Redis: 37 in a worker that idles, some of those among them."""
CLIENTS = 16
"""Clients for which there must be room at least. `doctor` advises how many files to allow for a crowd."""
THREADS = 8
"""Threads of a worker that has begun to compute: 6 in one that idles."""


def check_files(plan: Plan | None = None) -> None:
    """Allow this process, and the workers after it, as many open files as they need.

    Raises:
        CommandError: The system forbids so many.
    """
    needed = OWN_FILES + (plan.db_pool + plan.redis_connections + CLIENTS if plan else 0)
    soft, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < needed:
        raise CommandError(
            f"A worker needs {needed} open files at least, and {most} are allowed: raise the limit, which is ulimit -n, "
            "LimitNOFILE in systemd and ulimits in Compose."
        )
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, most))


def check_threads(plan: Plan) -> None:
    """
    Raises:
        CommandError: The user may not have as many threads as the workers have, twice in a reload. Root always may.
    """
    needed = 1 + plan.workers * GENERATIONS * THREADS
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    if os.geteuid() != 0 and most != resource.RLIM_INFINITY and most < needed:
        raise CommandError(
            f"{plan.workers} workers need {needed} processes and threads at least, and {most} are allowed: lower "
            "WEB_CONCURRENCY, or raise the limit, which is ulimit -u, and LimitNPROC in systemd."
        )
