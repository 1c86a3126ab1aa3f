"""Drawing of QR codes: pure computing of 2 to 18 ms, which belongs on the CPU lane. Recent drawings are kept.

segno, in Python, needs 2.4 ms where zxing-cpp needs 0.3; but the same text becomes another code there, a third of its
modules different under every mask, and what has been printed and cached without limit should stay what it is.
"""

import hashlib
import io
from collections import OrderedDict
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


class Drawn:
    """Images by what was ordered, the one not asked for longest forgotten first. For the event loop alone."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.bytes = 0
        self._images: OrderedDict[Drawing, bytes] = OrderedDict()

    def get(self, drawing: Drawing) -> bytes | None:
        if drawing in self._images:
            self._images.move_to_end(drawing)
        return self._images.get(drawing)

    def keep(self, drawing: Drawing, image: bytes) -> None:
        self.bytes += len(image) - len(self._images.pop(drawing, b""))
        self._images[drawing] = image
        while self.bytes > self.most_bytes:
            self.bytes -= len(self._images.popitem(last=False)[1])


def draw(drawing: Drawing) -> bytes:
    image = io.BytesIO()
    code = segno.make_qr(drawing.text, error=drawing.error)
    code.save(image, kind=drawing.format, scale=drawing.scale)
    return image.getvalue()
