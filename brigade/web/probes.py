"""The paths that machines ask for every few seconds."""

from collections.abc import MutableMapping
from typing import Any

PROBE_PATHS = frozenset({"/livez", "/readyz", "/metrics", "/workers"})
"""Health checks are answered by a full worker too, because a proxy without an answer takes it for dead. They are logged
only when they fail.
"""


def is_probe(scope: MutableMapping[str, Any]) -> bool:
    return scope.get("path") in PROBE_PATHS
