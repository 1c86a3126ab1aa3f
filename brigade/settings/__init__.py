"""Reads what the environment tells the engine: `variables` names it all, `types` say what each may be, `loading` reads it."""

from brigade.settings.loading import ConfigurationError, load_settings
from brigade.settings.variables import DRAIN_MARGIN_S, Settings

__all__ = ["DRAIN_MARGIN_S", "ConfigurationError", "Settings", "load_settings"]
