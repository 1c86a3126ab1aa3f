"""The resources that the feature has open while the worker lives; the routes find it in `request.state`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from fastapi import FastAPI

from brigade import resources_of
from service.features.links import metrics, qr
from service.features.links.clicks import Clicks
from service.features.links.live import Live
from service.features.links.making import Maker
from service.features.links.resolve import Resolver

DRAWN_BYTES = 4 * 2**20
"""Bytes of QR codes to keep, about a thousand of them, so that each worker draws a popular code once."""


class State(TypedDict):
    maker: Maker
    resolver: Resolver
    clicks: Clicks
    drawn: qr.Drawn
    live: Live


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[State]:
    resources = resources_of(app)
    async with Clicks(resources) as clicks:
        tell_clicks, live = metrics.watch(clicks), Live(resources.pg)
        yield {
            "maker": Maker(resources.pg, resources.cache),
            "resolver": Resolver(resources.pg, resources.cache, resources.replica),
            "clicks": clicks,
            "drawn": qr.Drawn(DRAWN_BYTES),
            "live": live,
        }
        await live.close()
    tell_clicks()  # what was lost at the end
