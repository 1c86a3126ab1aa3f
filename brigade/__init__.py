"""The engine: what a service stands on. To upgrade it, replace this folder."""

__version__ = "0.1.0"
