"""Notes: the plain feature, to copy. Create, read, list and delete, and nothing clever."""

from brigade import needs
from service.features.notes.routes import router

needed = needs("postgres")

__all__ = ["needed", "router"]
