"""A store refuses for many minutes, under many different links: what workers hold stays flat, and every click arrives."""

import asyncio
import time
from dataclasses import dataclass

from proof.chaos.drill import count_clicks
from proof.chaos.soak import Line, soak
from proof.chaos.stage import Stage
from proof.chaos.traffic import Kind, Tally, Traffic

STORES = ("postgres", "redis")
LINKS = 20_000
FOLLOWERS = 100
"""Each asks ten times a second, so a thousand links are followed a second."""
WARM_S = 60.0
"""Before the outage: each link is followed three times, so Redis knows nearly all of them. At most as long as the outage."""
COUNTED_WITHIN_S = 120.0


@dataclass(frozen=True)
class Outage:
    visitors: Tally
    followers: Tally
    lines: list[Line]
    samples: list[dict[str, float]]
    clicks: int
    """Redirects that somebody got, before the last visitors are let go, who ask once more."""
    counted: int
    counted_after_s: float
    """Seconds from the store's return until Postgres knew as many clicks as it should."""

    @property
    def is_kept(self) -> bool:
        unpromised = [
            tally.outcomes[name] for tally in (self.visitors, self.followers) for name in ("cut", "lost", "wrong")
        ]
        return self.counted == self.clicks and not any(unpromised) and all(line.flat for line in self.lines)


async def outlast(stage: Stage, traffic: Traffic, store: str, minutes: float) -> Outage:
    proxy = stage.to_redis if store == "redis" else stage.to_postgres
    codes = [f"outage{number}" for number in range(LINKS)]
    await stage.sql(
        f"INSERT INTO links (code, url) SELECT 'outage' || n, 'https://example.com/' || n FROM generate_series(0, {LINKS - 1}) n"  # noqa: S608
    )
    before = await stage.clicks()
    async with Traffic(stage.url, codes, kinds=[Kind("follow", 1)], kept=FOLLOWERS, fresh=0) as followers:
        followed = followers.begin()
        followers.asking.set()
        await asyncio.sleep(min(WARM_S, 60 * minutes))
        proxy.refuse()
        try:
            tally, lines, samples = await soak(stage, traffic, minutes)
        finally:
            await proxy.heal()
        followers.asking.clear()
    back_at = time.monotonic()
    await asyncio.sleep(0.4)  # for visitors that ask already
    clicks = tally.clicks + followed.clicks
    counted = await count_clicks(stage, before + clicks, until=back_at + COUNTED_WITHIN_S)
    return Outage(tally, followed, lines, samples, clicks, counted - before, time.monotonic() - back_at)
