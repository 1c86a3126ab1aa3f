"""The SQL of sheets. The file is in Postgres too, because the runner and the workers need not share a disk."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from brigade import Pg, acquire, read

INSERT = "INSERT INTO sheets (urls) VALUES ($1) RETURNING id"
SET_JOB = "UPDATE sheets SET job = $2 WHERE id = $1"
READ = "SELECT id, job, cardinality(urls) AS codes, octet_length(file) AS bytes, created_at FROM sheets WHERE id = $1"
READ_URLS = "SELECT urls FROM sheets WHERE id = $1 AND file IS NULL"
KEEP_FILE = "UPDATE sheets SET file = $2 WHERE id = $1"
READ_PART = "SELECT substring(file FROM $2 FOR $3) FROM sheets WHERE id = $1"
FORGET = "DELETE FROM sheets WHERE created_at < now() - interval '7 days'"

WITHIN_S = 5.0
"""Seconds for 10,000 URLs, or for a file of some 10 MB."""


@dataclass(frozen=True)
class Sheet:
    id: int
    job: int
    codes: int
    bytes: int | None
    """Size of the file, or None until it is drawn."""
    created_at: datetime


async def insert_sheet(pg: Pg, urls: list[str], enqueue: Callable[[Any, int], Awaitable[int]]) -> int:
    """Insert a sheet and, in the same transaction, its job, which `enqueue(connection, sheet)` adds."""
    async with acquire(pg, within_s=WITHIN_S) as connection, connection.transaction():
        sheet: int = await connection.fetchval(INSERT, urls)
        await connection.execute(SET_JOB, sheet, await enqueue(connection, sheet))
    return sheet


async def read_sheet(pg: Pg, sheet: int) -> Sheet | None:
    row = await read(pg, lambda connection: connection.fetchrow(READ, sheet))
    return Sheet(**row) if row else None


async def read_urls(pg: Pg, sheet: int) -> list[str] | None:
    """None if the sheet is drawn already, or is gone."""
    urls: list[str] | None = await read(pg, lambda connection: connection.fetchval(READ_URLS, sheet), within_s=WITHIN_S)
    return urls


async def keep_file(pg: Pg, sheet: int, file: bytes) -> None:
    async with acquire(pg, within_s=WITHIN_S) as connection:
        await connection.execute(KEEP_FILE, sheet, file)


async def read_part(pg: Pg, sheet: int, start: int, length: int) -> bytes:
    """`length` bytes of the file from `start` on."""
    part = await read(pg, lambda connection: connection.fetchval(READ_PART, sheet, start + 1, length))
    return part or b""


async def forget_sheets(pg: Pg) -> None:
    async with acquire(pg, within_s=WITHIN_S) as connection:
        await connection.execute(FORGET)
