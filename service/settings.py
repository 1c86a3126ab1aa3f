"""Your own variables. The engine's are in `brigade.Settings`; all of them are read once, at start."""

from pydantic import AnyHttpUrl, field_validator

import brigade


class Settings(brigade.Settings):
    public_url: AnyHttpUrl | None = None
    """Base of the short links, if it is not the address that the request used."""

    @field_validator("public_url")
    @classmethod
    def _is_base(cls, url: AnyHttpUrl | None) -> AnyHttpUrl | None:
        """A path is put before those of the links. Nothing else of a URL can be, and each answer would show a password."""
        if url is not None and (url.username or url.password or url.query is not None or url.fragment is not None):
            raise ValueError("must be a scheme, a host and perhaps a port and a path: without user, query and fragment")
        return url
