"""The SQL of notes. It names its columns, because a version lives with the schema of the next one."""

from dataclasses import dataclass
from datetime import datetime

from brigade import Pg, acquire, read

INSERT = "INSERT INTO notes (text) VALUES ($1) RETURNING id, text, created_at"
READ = "SELECT id, text, created_at FROM notes WHERE id = $1"
READ_PAGE = "SELECT id, text, created_at FROM notes WHERE id > $1 ORDER BY id LIMIT $2"
DELETE = "DELETE FROM notes WHERE id = $1 RETURNING id"


@dataclass(frozen=True)
class Note:
    id: int
    text: str
    created_at: datetime


async def insert_note(pg: Pg, text: str) -> Note:
    async with acquire(pg) as connection:
        row = await connection.fetchrow(INSERT, text)
    assert row is not None
    return Note(**row)


async def read_note(pg: Pg, note_id: int) -> Note | None:
    row = await read(pg, lambda connection: connection.fetchrow(READ, note_id))
    return Note(**row) if row else None


async def read_page(pg: Pg, *, after: int, limit: int) -> list[Note]:
    """Notes with an id above `after`, in the order of their ids."""
    rows = await read(pg, lambda connection: connection.fetch(READ_PAGE, after, limit))
    return [Note(**row) for row in rows]


async def delete_note(pg: Pg, note_id: int) -> bool:
    """Return whether there was one."""
    async with acquire(pg) as connection:
        return await connection.fetchval(DELETE, note_id) is not None
