"""The metrics of the feature: how often Redis knows a code, how many codes share a round trip, clicks on their way."""

from collections.abc import Callable

from brigade import counter, gauge, histogram
from brigade.hot import Count, Tally, tell, told_each_second
from service.features.links.clicks import Clicks

_lookups = counter("links_cache_lookups", "Codes looked up in Redis.", ["result"])
hits = Count(_lookups.labels("hit"))
misses = Count(_lookups.labels("miss"))
_replica = counter("links_replica_lookups", "Codes looked up in the replica of Postgres.", ["result"])
replica_hits = Count(_replica.labels("hit"))
replica_misses = Count(_replica.labels("miss"))
batch_codes = Tally(
    histogram(
        "links_cache_batch_codes", "Codes in one round trip to Redis.", buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256)
    )
)

PENDING = gauge("links_clicks_pending", "Clicks that Redis has not confirmed.")
PENDING_S = gauge("links_clicks_pending_seconds", "How long the oldest of them may have waited.")
BACKLOG = gauge("links_clicks_backlog", "Links whose clicks are in Redis and not yet in Postgres.")
BACKLOG_S = gauge("links_clicks_backlog_seconds", "How long none of them has been moved.")
IN_MEMORY = gauge("links_clicks_in_memory", "1 while STATE_DIR cannot be written, so that a kill would lose clicks.")
LOST = counter("links_clicks_lost", "Clicks that found no room, or that only a worker knew when it ended.")

previews = Count(counter("links_previews", "Redirects that prefetches, previews and crawlers were given. No clicks."))


def count_preview() -> None:
    previews.total += 1


def watch(clicks: Clicks) -> Callable[[], None]:
    """Export them once a second. Call what is returned when the last click has been counted."""

    def tell_clicks() -> None:
        PENDING.set(clicks.pending)
        PENDING_S.set(clicks.pending_s)
        BACKLOG.set(clicks.backlog.links)
        BACKLOG_S.set(clicks.backlog.seconds)
        IN_MEMORY.set(clicks.in_memory)
        tell(LOST, clicks.lost)

    told_each_second.append(tell_clicks)
    return tell_clicks
