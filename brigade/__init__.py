"""The engine. These are its public names; `docs/engine.md` documents each.

They are imported when they are first used, because Gunicorn's master needs the settings and must not load the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from brigade.app import Brigade
    from brigade.deps import (
        Cache,
        Jobs,
        Lane,
        Pg,
        SettingsDep,
        limit_address,
        on_cpu_lane,
        on_ops_side,
        require_key,
        resources_of,
    )
    from brigade.errors import (
        CacheUnavailable,
        ContentTooLarge,
        DatabaseUnavailable,
        InvalidRequest,
        LaneFull,
        MalformedBody,
        Problem,
        TooManyRequests,
        Unauthorized,
        Unavailable,
        UpstreamFailure,
        UpstreamTimeout,
        UpstreamUnavailable,
    )
    from brigade.http import Http
    from brigade.jobs import JobRun, job
    from brigade.resources import Resources
    from brigade.settings import ConfigurationError, Settings, load_settings
    from brigade.stores.database import acquire, read
    from brigade.stores.needs import needs
    from brigade.telemetry.metrics import counter, gauge, histogram
    from brigade.web.body import Body, Text, location
    from brigade.web.event_stream import EventStream
    from brigade.web.limits import route_limits
    from brigade.web.problems import documented, may_raise

__version__ = "0.2.0"

_MODULES = {
    "brigade.app": ("Brigade",),
    "brigade.deps": (
        "Cache",
        "Jobs",
        "Lane",
        "Pg",
        "SettingsDep",
        "limit_address",
        "on_cpu_lane",
        "on_ops_side",
        "require_key",
        "resources_of",
    ),
    "brigade.jobs": ("JobRun", "job"),
    "brigade.errors": (
        "CacheUnavailable",
        "ContentTooLarge",
        "DatabaseUnavailable",
        "InvalidRequest",
        "LaneFull",
        "MalformedBody",
        "Problem",
        "TooManyRequests",
        "Unauthorized",
        "Unavailable",
        "UpstreamFailure",
        "UpstreamTimeout",
        "UpstreamUnavailable",
    ),
    "brigade.http": ("Http",),
    "brigade.resources": ("Resources",),
    "brigade.stores.needs": ("needs",),
    "brigade.settings": ("ConfigurationError", "Settings", "load_settings"),
    "brigade.stores.database": ("acquire", "read"),
    "brigade.telemetry.metrics": ("counter", "gauge", "histogram"),
    "brigade.web.body": ("Body", "Text", "location"),
    "brigade.web.event_stream": ("EventStream",),
    "brigade.web.limits": ("route_limits",),
    "brigade.web.problems": ("documented", "may_raise"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "Body",
    "Brigade",
    "Cache",
    "CacheUnavailable",
    "ConfigurationError",
    "ContentTooLarge",
    "DatabaseUnavailable",
    "EventStream",
    "Http",
    "InvalidRequest",
    "JobRun",
    "Jobs",
    "Lane",
    "LaneFull",
    "MalformedBody",
    "Pg",
    "Problem",
    "Resources",
    "Settings",
    "SettingsDep",
    "Text",
    "TooManyRequests",
    "Unauthorized",
    "Unavailable",
    "UpstreamFailure",
    "UpstreamTimeout",
    "UpstreamUnavailable",
    "acquire",
    "counter",
    "documented",
    "gauge",
    "histogram",
    "job",
    "limit_address",
    "load_settings",
    "location",
    "may_raise",
    "needs",
    "on_cpu_lane",
    "on_ops_side",
    "read",
    "require_key",
    "resources_of",
    "route_limits",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'brigade' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value
