"""Your own variables. The engine's are in `brigade.Settings`; all of them are read once, at start."""

from pydantic import AnyHttpUrl

import brigade


class Settings(brigade.Settings):
    public_url: AnyHttpUrl | None = None
    """Base of the short links, if it is not the address that the request used."""
