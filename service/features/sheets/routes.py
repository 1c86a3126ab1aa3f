"""Sheets as HTTP: order one, watch it, fetch it."""

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AfterValidator, BaseModel, Field
from segno.encoder import is_kanji

from brigade import Body, Jobs, Pg, Text, documented, location, require_key, route_limits
from service.features.sheets import store
from service.features.sheets.errors import RangeNotSatisfiable, SheetChanged, SheetNotFound, SheetNotReady
from service.features.sheets.jobs import draw_sheet
from service.features.sheets.ranges import Conditions

MOST_CODES = 10_000
PART_BYTES = 256 * 1024
MOST_BYTES, MOST_KANJI = 2953, 1817
"""Contents of the largest QR code there is, with the least of what may be unreadable (ISO/IEC 18004, table 7)."""
SheetId = Annotated[int, Path(ge=1, le=2**63 - 1)]

router = APIRouter(prefix="/sheets", tags=["sheets"], dependencies=[Depends(require_key)])


def _fits_a_code(text: str) -> str:
    """Refuse now what no attempt of the job could draw. A code has the first of these encodings that has each letter."""
    if len(text) <= MOST_KANJI and _is_kanji(text):
        return text
    size = len(text.encode())
    for encoding in ("shift_jis", "latin-1"):
        with suppress(UnicodeEncodeError):
            size = len(text.encode(encoding))
    if size > MOST_BYTES:
        raise ValueError(f"has {size} bytes, and a QR code has room for {MOST_BYTES}")
    return text


def _is_kanji(text: str) -> bool:
    """Whether each letter is one of those that a code keeps in 13 bits."""
    with suppress(UnicodeEncodeError):
        return bool(is_kanji(text.encode("shift_jis")))  # type: ignore[no-untyped-call] # segno has no types
    return False


CodeText = Annotated[Text, Field(min_length=1, max_length=2048), AfterValidator(_fits_a_code)]


class NewSheet(Body):
    urls: Annotated[list[CodeText], Field(min_length=1, max_length=MOST_CODES)] = Field(
        description="What each code says; for a short link, its address."
    )


class SheetOut(BaseModel):
    id: int
    state: Literal["waiting", "running", "done", "dead"]
    done: int
    of: int
    created_at: datetime
    file: str | None = Field(description="Where the ZIP is, once the sheet is done.")


@router.post("", status_code=202)
@route_limits(max_body_bytes=25_000_000)
async def order_sheet(new: NewSheet, pg: Pg, request: Request, response: Response) -> SheetOut:
    """Order a ZIP with a QR code for each URL."""

    async def enqueue(connection: Any, sheet: int) -> int:
        return await draw_sheet.enqueue(connection, sheet=sheet)

    sheet = await _found(pg, await store.insert_sheet(pg, new.urls, enqueue))
    response.headers["Location"] = location(request, f"/sheets/{sheet.id}")
    return SheetOut(id=sheet.id, state="waiting", done=0, of=sheet.codes, created_at=sheet.created_at, file=None)


@router.get("/{sheet_id}", responses=documented(SheetNotFound))
async def read_sheet(sheet_id: SheetId, pg: Pg, jobs: Jobs, request: Request) -> SheetOut:
    """How far a sheet is."""
    job = None
    sheet = await _found(pg, sheet_id)
    if sheet.bytes is None:
        job = await jobs.look(sheet.job)
        sheet = sheet if job else await _found(pg, sheet_id)  # it was done in between
    return SheetOut(
        id=sheet.id,
        state=job.state if job else "done",
        done=job.done if job else sheet.codes,
        of=sheet.codes,
        created_at=sheet.created_at,
        file=None if job else location(request, f"/sheets/{sheet.id}/file"),
    )


@router.get(
    "/{sheet_id}/file",
    response_class=Response,
    responses={
        200: {"content": {"application/zip": {}}, "description": "The ZIP."},
        206: {"content": {"application/zip": {}}, "description": "The range of it that was asked for."},
        304: {"description": "The client has it already"},
        **documented(SheetNotFound, SheetNotReady, SheetChanged, RangeNotSatisfiable),
    },
)
async def read_file(sheet_id: SheetId, pg: Pg, conditions: Annotated[Conditions, Header()]) -> Response:
    """The ZIP, or a range of it, so that a download that broke off can go on."""
    sheet, (start, length), status, headers = await _look(sheet_id, pg, conditions)
    return StreamingResponse(_parts(pg, sheet.id, start, length), status, headers, "application/zip")


@router.head("/{sheet_id}/file", include_in_schema=False)
async def look_at_file(sheet_id: SheetId, pg: Pg, conditions: Annotated[Conditions, Header()]) -> Response:
    """Return the head of the ZIP, and read none of it. A range is of GET alone (RFC 9110, 14.2)."""
    *_, headers = await _look(sheet_id, pg, conditions.model_copy(update={"range": None}))
    return Response(None, 200, headers, "application/zip")


async def _look(
    sheet_id: int, pg: Pg, conditions: Conditions
) -> tuple[store.Sheet, tuple[int, int], int, dict[str, str]]:
    """Return the sheet, where the part that is asked for begins and how long it is, and the head of the answer."""
    sheet = await _found(pg, sheet_id)
    if sheet.bytes is None:
        raise SheetNotReady(f"GET /sheets/{sheet_id} says how far it is.")
    etag = f'"sheet-{sheet.id}-{sheet.bytes}"'
    asked = conditions.part_of(sheet.bytes, etag)
    start, length = asked or (0, sheet.bytes)
    headers = {
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="sheet-{sheet.id}.zip"',
        "Content-Length": f"{length}",
        "ETag": etag,
    }
    if asked:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{sheet.bytes}"
    return sheet, (start, length), 206 if asked else 200, headers


async def _parts(pg: Pg, sheet: int, start: int, length: int) -> AsyncIterator[bytes]:
    for at in range(start, start + length, PART_BYTES):
        yield await store.read_part(pg, sheet, at, min(PART_BYTES, start + length - at))


async def _found(pg: Pg, sheet_id: int) -> store.Sheet:
    sheet = await store.read_sheet(pg, sheet_id)
    if sheet is None:
        raise SheetNotFound(f"There is no sheet {sheet_id}.")
    return sheet
