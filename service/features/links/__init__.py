"""Short links: the sample feature. Without this folder, its tests and its word in `service.main.FEATURES` it is gone."""

from service.features.links.routes import router

__all__ = ["router"]
