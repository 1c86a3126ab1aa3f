"""What the feature counts: how often Redis knows a code, how many codes share a round trip, clicks on their way."""

from brigade.telemetry.metrics import Count, Tally, counter, gauge, histogram, told_each_second
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


def watch(clicks: Clicks) -> None:
    def tell_clicks() -> None:
        PENDING.set(clicks.pending)
        PENDING_S.set(clicks.pending_s)

    told_each_second.append(tell_clicks)
