"""Reads what both kinds of rollout need to know before they begin."""

import math
import os
import shutil
import sys


def read_patience_s(default_s: int) -> float:
    """Return how long to wait, or end the program with a sentence."""
    try:
        patience_s = float(os.environ.get("ROLLOUT_TIMEOUT_S") or default_s)
    except ValueError:
        patience_s = math.nan
    if not 0 < patience_s < math.inf:
        sys.exit(f"ROLLOUT_TIMEOUT_S is a number of seconds, such as {default_s}.")
    return patience_s


def require_docker() -> None:
    """End the program with a sentence where there is none."""
    if shutil.which("docker") is None:
        sys.exit("docker is missing: install it.")
