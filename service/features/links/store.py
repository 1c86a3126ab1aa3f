"""The SQL of links. Postgres is the truth: what others know of a link, they may forget."""

import secrets
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from brigade import acquire, read
from brigade.stores import ANSWER_WITHIN_S, Pool, Replica
from service.features.links.errors import CodeTaken

ALPHABET = string.ascii_letters + string.digits
CODE_LENGTH = 7
"""62**7 is 3.5e12: a random code is hard to guess, and with a billion links still free 2,999 times in 3,000."""
MAX_ATTEMPTS = 10

# Columns are named, because a version also runs with the schema of the next one.
INSERT_LINK = """
INSERT INTO links (code, url, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
RETURNING id, code, url, created_at, expires_at, clicks
"""
# Times are sent as text: asyncpg knows text[], and asks about any other array at its first use in a session, in six round trips.
INSERT_LINKS = """
INSERT INTO links (code, url, expires_at) SELECT code, url, expires_at::timestamptz
FROM unnest($1::text[], $2::text[], $3::text[]) AS made (code, url, expires_at)
ON CONFLICT DO NOTHING RETURNING id, code, url, created_at, expires_at, clicks
"""
# For reads, and for redirects that Redis does not know: a column that is added here makes those slower.
READ_LINKS = "SELECT id, code, url, created_at, expires_at, clicks FROM links WHERE code = ANY($1::text[])"
# Of a replica that is not far behind. It knows that by its last commit, so when there is none it is taken to be.
READ_LINKS_IF_FRESH = f"{READ_LINKS} AND (SELECT now() - pg_last_xact_replay_timestamp() < make_interval(secs => $2))"
READ_PAGE = "SELECT id, code, url, created_at, expires_at, clicks FROM links WHERE id < $1 ORDER BY id DESC LIMIT $2"
READ_FIRST_PAGE = "SELECT id, code, url, created_at, expires_at, clicks FROM links ORDER BY id DESC LIMIT $1"
DELETE_EXPIRED = """
DELETE FROM links WHERE id IN (
    SELECT id FROM links WHERE expires_at < now() - interval '1 day' LIMIT 1000 FOR UPDATE SKIP LOCKED
) RETURNING id
"""
DELETE_LINK = "DELETE FROM links WHERE code = $1 RETURNING id"
# One statement, so that the mark and the counts are there together or not at all. A count stays at the largest there is,
# because one that does not fit would keep the clicks of all others from Postgres.
ADD_CLICKS = """
WITH batch AS (INSERT INTO click_batches (id) VALUES ($1) ON CONFLICT DO NOTHING RETURNING id)
UPDATE links SET clicks = least(links.clicks::numeric + added.clicks, 9223372036854775807)
FROM batch, unnest($2::bigint[], $3::bigint[]) AS added (id, clicks) WHERE links.id = added.id
"""
FORGET_BATCHES = "DELETE FROM click_batches WHERE applied_at < now() - interval '1 day'"

MOVE_WITHIN_S = 30.0
"""Seconds for a batch of clicks, of which each statement has the deadline of the server besides."""

# No statement here leaves anything behind in the session, so the round trip that resets it is saved.
ask = partial(acquire, leaves_session_clean=True)
look = partial(read, within_s=ANSWER_WITHIN_S, leaves_session_clean=True)


@dataclass(frozen=True, slots=True)
class Link:
    id: int
    code: str
    url: str
    created_at: datetime
    expires_at: datetime | None
    clicks: int


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """A link to be made. Two drafts of the same values are two links."""

    code: str
    url: str
    expires_at: datetime | None


def random_code(length: int) -> str:
    number, code = secrets.randbelow(len(ALPHABET) ** length), ""  # once: each call of the system takes 1.5 µs
    for _ in range(length):
        number, place = divmod(number, len(ALPHABET))
        code += ALPHABET[place]
    return code


async def insert_link(
    pg: Pool,
    *,
    url: str,
    code: str | None = None,
    expires_at: datetime | None = None,
    new_code: Callable[[int], str] = random_code,
) -> Link:
    """Without a code it gets a random one, a longer one at each collision.

    Raises:
        CodeTaken: another link has the code.
    """
    candidates = [code] if code else (new_code(CODE_LENGTH + attempt) for attempt in range(MAX_ATTEMPTS))
    async with ask(pg) as connection:
        for candidate in candidates:
            row = await connection.fetchrow(INSERT_LINK, candidate, url, expires_at)
            if row:
                return Link(**row)
    raise CodeTaken(f"Choose another code than {code!r}." if code else "No random code was free.")


async def insert_links(pg: Pool, drafts: Sequence[Draft]) -> dict[Draft, Link]:
    """Make the links whose codes are free, in one statement, which makes all of them or none."""
    by_code = {draft.code: draft for draft in reversed(drafts)}  # of two with the same code Postgres takes the first
    values = [(draft.code, draft.url, draft.expires_at and draft.expires_at.isoformat()) for draft in drafts]
    async with ask(pg) as connection:
        rows = await connection.fetch(INSERT_LINKS, *zip(*values, strict=True))
    return {by_code[row["code"]]: Link(**row) for row in rows}


async def read_links(pg: Pool, codes: Sequence[str]) -> dict[str, Link]:
    """Return the links that exist, by their code."""
    rows = await look(pg, lambda connection: connection.fetch(READ_LINKS, codes))
    return {row["code"]: Link(**row) for row in rows}


async def read_replica(replica: Replica, codes: Sequence[str], *, max_lag_s: float) -> dict[str, Link]:
    """Return what a replica has of them, or nothing if it is away or more than `max_lag_s` behind."""
    rows = await replica.run(
        lambda connection: connection.fetch(READ_LINKS_IF_FRESH, codes, max_lag_s), leaves_session_clean=True
    )
    return {row["code"]: Link(**row) for row in rows or ()}


async def read_page(pg: Pool, *, after: int | None, limit: int) -> list[Link]:
    """The newest first, or the newest of those older than the link with the id `after`."""
    statement, values = (READ_FIRST_PAGE, [limit]) if after is None else (READ_PAGE, [after, limit])
    rows = await look(pg, lambda connection: connection.fetch(statement, *values))
    return [Link(**row) for row in rows]


async def delete_link(pg: Pool, *, code: str) -> bool:
    """Whether there was one."""
    async with ask(pg) as connection:
        return await connection.fetchval(DELETE_LINK, code) is not None


async def delete_expired(pg: Pool) -> int:
    """Delete up to a thousand links that expired more than a day ago, and return how many there were."""
    async with ask(pg, within_s=MOVE_WITHIN_S) as connection:
        return len(await connection.fetch(DELETE_EXPIRED))


async def add_clicks(pg: Pool, *, batch: str, clicks: Mapping[int, int]) -> None:
    """Adding the same batch again changes nothing, also while the first time is under way."""
    async with ask(pg, within_s=MOVE_WITHIN_S) as connection:
        await connection.execute(ADD_CLICKS, batch, list(clicks), list(clicks.values()))


async def forget_batches(pg: Pool) -> None:
    """Only the last batch taken can come back. Call it when a newer one has been added."""
    async with ask(pg, within_s=MOVE_WITHIN_S) as connection:
        await connection.execute(FORGET_BATCHES)
