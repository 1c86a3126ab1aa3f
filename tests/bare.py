"""An application with these routers and nothing of the engine's own: no registry and no check runs beside a test."""

import logging
from collections.abc import Sequence
from types import SimpleNamespace
from typing import ClassVar

import structlog
from fastapi import APIRouter

from brigade import Brigade, Settings


class Bare(Brigade):
    engine_routers: ClassVar[tuple[APIRouter, ...]] = ()

    def __init__(self, settings: Settings, routers: Sequence[APIRouter]) -> None:
        logs, handlers = structlog.get_config(), logging.getLogger().handlers
        super().__init__(settings, features=[SimpleNamespace(router=router) for router in routers])
        structlog.configure(**logs)  # as it was: a test may capture them
        logging.getLogger().handlers = handlers
