"""Sheets: a ZIP of QR codes, as a job. Without this folder, its tests and its word in `service.main.FEATURES` it is gone."""

from brigade import needs
from service.features.sheets.routes import router

needed = needs(one_of=("postgres", "redis"))  # as in notes: sheets need Postgres, and links can be followed without it

__all__ = ["needed", "router"]
