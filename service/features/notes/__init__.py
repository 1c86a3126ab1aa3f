"""Notes: the plain feature, to copy. Create, read, list and delete, and nothing clever."""

from brigade import needs
from service.features.notes.routes import router

# Notes are in Postgres, and links can be followed without it: the service is of use, and ready, while either answers.
# A service without links would say needs("postgres").
needed = needs(one_of=("postgres", "redis"))

__all__ = ["needed", "router"]
