"""Types that every feature wants for the bodies that it accepts, and for the addresses that it returns."""

from functools import lru_cache
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request

MAX_NAMES = 100
"""A body of 1 MB has room for 90,000 unknown names: 2 s of the event loop, and an answer of 10 MB."""


class Body(BaseModel):
    """A JSON body. Names that it does not define are refused, and so is a body of more than 100 names."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _has_few_names(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > MAX_NAMES:
            raise ValueError(f"may have at most {MAX_NAMES} names")
        return value


Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Text that Postgres can store: it has no NUL. Add a `Field(max_length=...)`."""


def location(request: Request, path: str) -> str:
    """The absolute URL of `path`, as the client reaches this service: with the scheme and the host that a trusted proxy
    tells of, and below `ROOT_PATH`. For the header `Location`.
    """
    scope = request.scope
    hosts = tuple(value.removesuffix(b":") for name, value in scope["headers"] if name == b"host")
    root = scope.get("app_root_path", scope.get("root_path", ""))
    return f"{_base_url(scope['scheme'], tuple(scope['server'] or ()), root, hosts)}/{path.lstrip('/')}"


@lru_cache(maxsize=256)
def _base_url(scheme: str, server: tuple[Any, ...], root: str, hosts: tuple[bytes, ...]) -> str:
    """Starlette's own, kept: a service has few, and to build one costs each answer 5 µs."""
    headers = [(b"host", host) for host in hosts]
    scope = {"type": "http", "scheme": scheme, "server": server or None, "root_path": root, "headers": headers}
    return str(Request(scope).base_url).rstrip("/")
