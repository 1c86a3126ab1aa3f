"""Short links: the sample feature. Without this folder, its tests and its word in `service.main.FEATURES` it is gone."""

from brigade import needs
from service.features.links import jobs, live
from service.features.links.routes import router

router.include_router(live.router)

needed = needs(one_of=("postgres", "redis"))  # links that Redis knows resolve without Postgres, and all without Redis

__all__ = ["jobs", "needed", "router"]
