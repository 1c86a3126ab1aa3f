"""The line of code that the watchdog names."""

from collections import Counter

from proof.prove.own_service import ROOT
from proof.prove.route.measured import Findings
from proof.prove.route.route import Route


def place_of(route: Route, found: Findings, cause: str) -> str:
    """Return ` at file:line in function`, as it was named most often; empty where it was not."""
    named = [
        each
        for measured in (found.alone, *found.company.values())
        for each in measured.seen.incidents
        if each.get("file") and each.get("path") in {route.bare_path, None}
    ]
    exact = [each for each in named if each["cause"] == cause] or named
    if not exact:
        return ""
    lines = Counter(
        f" at {each['file'].removeprefix(f'{ROOT}/')}:{each['line']} in {each['function']}" for each in exact
    )
    return lines.most_common(1)[0][0]
