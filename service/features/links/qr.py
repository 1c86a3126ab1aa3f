"""Draws QR codes. Pure computing, 4 to 18 ms of it: it belongs on the CPU lane."""

import hashlib
import io
from dataclasses import dataclass
from enum import StrEnum

import segno


class Format(StrEnum):
    SVG = "svg"
    PNG = "png"


class ErrorLevel(StrEnum):
    L = "l"
    M = "m"
    Q = "q"
    H = "h"

    @classmethod
    def _missing_(cls, value: object) -> "ErrorLevel | None":
        return next((level for level in cls if level == str(value).lower()), None)


MEDIA_TYPES = {Format.SVG: "image/svg+xml", Format.PNG: "image/png"}


@dataclass(frozen=True)
class Drawing:
    text: str
    format: Format
    scale: int
    error: ErrorLevel

    @property
    def etag(self) -> str:
        """Known without drawing: the same order to the same program gives the same bytes."""
        return f'"{hashlib.sha256(f"{self!r} {segno.__version__}".encode()).hexdigest()[:32]}"'


def draw(drawing: Drawing) -> bytes:
    image = io.BytesIO()
    code = segno.make_qr(drawing.text, error=drawing.error)
    code.save(image, kind=drawing.format, scale=drawing.scale)
    return image.getvalue()
