"""One range of a file, as RFC 9110, section 14 has it. Several at once, and other units, are answered with all of it."""

import re

from service.features.sheets.errors import RangeNotSatisfiable

_ONE = re.compile(r"bytes=(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))")


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
