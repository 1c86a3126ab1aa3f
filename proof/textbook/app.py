"""Short links by the book: FastAPI routes, `await redis.get`, asyncpg's pool with its defaults, `def` for CPU work.

Written to pass a review, and run under Gunicorn's stock uvicorn worker. It must not be crippled, nor tuned.
"""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from io import BytesIO
from typing import Annotated, Any

import asyncpg
import redis.asyncio as redis
import segno
from fastapi import Depends, FastAPI, HTTPException, Request, Response, status
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, HttpUrl

from proof.textbook.work import spin

CACHE_SECONDS = 3600

SCHEMA = """
CREATE TABLE IF NOT EXISTS links (
    code text PRIMARY KEY,
    url text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
)
"""


class NewLink(BaseModel):
    url: HttpUrl


class Link(BaseModel):
    code: str
    url: str
    created_at: datetime


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["DATABASE_URL"]) as pool:
        await pool.execute(SCHEMA)
        app.state.pool = pool
        app.state.redis = redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
        yield
        await app.state.redis.aclose()


app = FastAPI(title="Short links", lifespan=lifespan)


async def get_pool(request: Request) -> asyncpg.Pool:
    pool: asyncpg.Pool = request.app.state.pool
    return pool


async def get_redis(request: Request) -> redis.Redis:
    client: redis.Redis = request.app.state.redis
    return client


Pool = Annotated[asyncpg.Pool, Depends(get_pool)]
Redis = Annotated[redis.Redis, Depends(get_redis)]


@app.get("/r/{code}")
async def follow_link(code: str, pool: Pool, redis: Redis) -> RedirectResponse:
    url = await redis.get(f"link:{code}")
    if url is None:
        url = await pool.fetchval("SELECT url FROM links WHERE code = $1", code)
        if url is None:
            raise HTTPException(status.HTTP_404_NOT_FOUND, "Link not found")
        await redis.set(f"link:{code}", url, ex=CACHE_SECONDS)
    await redis.incr(f"clicks:{code}")
    return RedirectResponse(str(url))


@app.post("/links", status_code=status.HTTP_201_CREATED)
async def create_link(link: NewLink, request: Request, response: Response, pool: Pool) -> Link:
    code, url = secrets.token_urlsafe(6), str(link.url)
    created_at = await pool.fetchval(
        "INSERT INTO links (code, url) VALUES ($1, $2) RETURNING created_at",
        code,
        url,
    )
    response.headers["Location"] = str(request.url_for("read_link", code=code))
    return Link(code=code, url=url, created_at=created_at)


@app.get("/links/{code}", response_model=Link)
async def read_link(code: str, request: Request) -> dict[str, Any]:
    row = await request.app.state.pool.fetchrow("SELECT code, url, created_at FROM links WHERE code = $1", code)
    if row is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "Link not found")
    return dict(row)


@app.get("/links/{code}/qr")
def render_qr(link: Annotated[dict[str, Any], Depends(read_link)], request: Request) -> Response:
    image = BytesIO()
    short_url = str(request.url_for("follow_link", code=link["code"]))
    segno.make(short_url, error="m", micro=False).save(image, kind="svg", scale=8)
    return Response(image.getvalue(), media_type="image/svg+xml")


@app.get("/cpu")
def compute(iterations: int) -> dict[str, int]:
    return {"result": spin(iterations)}
