"""The answer of another service."""

import codecs
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from brigade.errors import UpstreamFailure


@dataclass(frozen=True)
class Answer:
    """The answer of a host, whatever its status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON.

        Raises:
            UpstreamFailure: The body is not JSON.
        """
        try:
            return orjson.loads(self.body.removeprefix(codecs.BOM_UTF8))
        except orjson.JSONDecodeError as error:
            raise UpstreamFailure("Another service did not answer with JSON.") from error

    def raise_for_status(self) -> "Answer":
        """Return the answer itself.

        Raises:
            UpstreamFailure: The status is 400 or more.
        """
        if self.status >= 400:
            raise UpstreamFailure(f"Another service answered {self.status}.")
        return self
