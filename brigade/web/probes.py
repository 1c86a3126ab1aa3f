"""The paths that machines ask for every few seconds."""

from collections.abc import MutableMapping
from typing import Any

PROBE_PATHS = frozenset({"/livez", "/readyz", "/metrics", "/workers"})
"""Answered however full the worker is, because a proxy that hears nothing takes it for dead, and logged only when they
fail.
"""


def is_probe(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in PROBE_PATHS
