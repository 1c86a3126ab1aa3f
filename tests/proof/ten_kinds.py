"""A feature with a route of each of ten kinds, for the small project that `test_route.py` serves."""

FEATURE = """
import asyncio
import os
import time

import anyio.to_process
from fastapi import APIRouter

from brigade import Pg, acquire, on_cpu_lane

router = APIRouter()
lock = asyncio.Lock()
LONG_S = 0.05


def burn():
    until_s = time.thread_time() + LONG_S
    while time.thread_time() < until_s:
        pass


@router.get("/awaiting")
async def awaiting():
    await asyncio.sleep(LONG_S)


@router.get("/blocking")
async def blocking():
    time.sleep(LONG_S)  # the line at fault


@router.get("/on-loop")
async def on_loop():
    burn()


@router.get("/in-threadpool")
def in_threadpool():
    burn()


@router.get("/in-lane")
@on_cpu_lane
def in_lane():
    burn()


@router.get("/in-process")
async def in_process():
    await anyio.to_process.run_sync(burn)


@router.get("/pool")
async def pool(pg: Pg):
    async with acquire(pg) as connection:
        await connection.execute("SELECT pg_sleep(0.1)")


@router.get("/lock")
async def one_by_one():
    async with lock:
        await asyncio.sleep(LONG_S)


@router.get("/many-queries")
async def many_queries(pg: Pg):
    async with acquire(pg) as connection:
        for number in range(12):
            await connection.fetchval("SELECT name FROM (VALUES (1, 'a')) AS t (id, name) WHERE id = $1", number)


@router.get("/upstream")
async def upstream():
    reader, writer = await asyncio.open_connection("127.0.0.1", int(os.environ["UPSTREAM_PORT"]))
    await reader.read()
    writer.close()
"""
