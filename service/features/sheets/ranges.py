"""The part of a file that a client asks for, and the conditions under which it does (RFC 9110, sections 13 and 14).

Several ranges at once, and other units, are answered with all of it.
"""

import re

from pydantic import BaseModel
from starlette.exceptions import HTTPException

from brigade.hot import is_current, is_known
from service.features.sheets.errors import RangeNotSatisfiable, SheetChanged

_ONE = re.compile(r"bytes=(?:(\d{1,40})-(\d{0,40})|-(\d{1,40}))", re.IGNORECASE)


class Conditions(BaseModel):
    """The headers that ask for a part of a file, or for the file under a condition."""

    if_match: list[str] | None = None
    if_none_match: list[str] | None = None
    if_range: str | None = None
    range: str | None = None

    def part_of(self, size: int, etag: str) -> tuple[int, int] | None:
        """Return the first byte and the length, or None for the whole file.

        Raises:
            SheetChanged: The client wants another file than this one.
            HTTPException: The client has the file already.
            RangeNotSatisfiable: The range begins after the end.
        """
        if self.if_match and not is_current(", ".join(self.if_match), etag):
            raise SheetChanged(f"The file is {etag} now.")
        if self.if_none_match and is_known(", ".join(self.if_none_match), etag):
            raise HTTPException(304, headers={"ETag": etag})
        return read_range(self.range if self.if_range in {None, etag} else None, size)


def read_range(header: str | None, size: int) -> tuple[int, int] | None:
    """Return the first byte and the length, or None for the whole file.

    Raises:
        RangeNotSatisfiable: The range begins after the end.
    """
    found = _ONE.fullmatch(header.replace(" ", "")) if header else None
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        start, end = max(0, size - int(suffix)), size - 1
    else:
        start, end = int(first), min(int(last or size), size - 1)
        if last and int(last) < start:
            return None  # not a valid range, so it is ignored
    if start >= size or suffix == "0":
        raise RangeNotSatisfiable(f"The file has {size} bytes.", headers={"Content-Range": f"bytes */{size}"})
    return start, end - start + 1
