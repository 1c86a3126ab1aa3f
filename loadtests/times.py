"""Times of many answers, counted by their length."""

from collections import Counter


def two_digits(ms: float) -> int:
    """Round as Locust does, so that there are few different figures."""
    return int(round(ms, 2 - len(f"{ms:.0f}"))) if ms >= 100 else round(ms)


def percentile(took_ms: Counter[int], share: float) -> int | None:
    """Return the milliseconds within which this share of the answers came."""
    rest = share * took_ms.total()
    for ms, count in sorted(took_ms.items()):
        rest -= count
        if rest <= 0:
            return ms
    return None
