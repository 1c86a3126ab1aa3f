"""Notes as HTTP."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from brigade import Body, Pg, Text, documented, limit_address, location, require_key
from service.features.notes import store
from service.features.notes.errors import NoteNotFound

MAX_ID = 2**63 - 1
NoteId = Annotated[int, Path(ge=1, le=MAX_ID)]

router = APIRouter(prefix="/notes", tags=["notes"])


class NewNote(Body):
    text: Annotated[Text, Field(min_length=1, max_length=10_000)]


class NoteOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    text: str
    created_at: datetime


class NotePage(BaseModel):
    items: list[NoteOut]
    next: int | None = Field(description="What to give as `after` for the next page; null on the last one.")


@router.post("", status_code=201, dependencies=[Depends(require_key)])
async def create_note(new: NewNote, pg: Pg, request: Request, response: Response) -> NoteOut:
    """Keep a note."""
    note = await store.insert_note(pg, new.text)
    response.headers["Location"] = location(request, f"/notes/{note.id}")
    return NoteOut.model_validate(note)


@router.get("", dependencies=[Depends(require_key)])
async def list_notes(
    pg: Pg, after: Annotated[int, Query(ge=0, le=MAX_ID)] = 0, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> NotePage:
    """List notes, the oldest first."""
    notes = await store.read_page(pg, after=after, limit=limit + 1)
    items = [NoteOut.model_validate(note) for note in notes[:limit]]
    return NotePage(items=items, next=items[-1].id if notes[limit:] else None)


@router.get("/{note_id}", dependencies=[Depends(limit_address)], responses=documented(NoteNotFound))
async def read_note(note_id: NoteId, pg: Pg) -> NoteOut:
    """Read one note."""
    note = await store.read_note(pg, note_id)
    if note is None:
        raise NoteNotFound(f"No note has the id {note_id}.")
    return NoteOut.model_validate(note)


@router.delete("/{note_id}", status_code=204, dependencies=[Depends(require_key)], responses=documented(NoteNotFound))
async def delete_note(note_id: NoteId, pg: Pg) -> None:
    """Delete a note for good."""
    if not await store.delete_note(pg, note_id):
        raise NoteNotFound(f"No note has the id {note_id}.")
