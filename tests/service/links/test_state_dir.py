"""Whatever becomes of `STATE_DIR` or of Redis: redirects go on, files stay few, and what can be counted is counted."""

import asyncio
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from brigade.resources import Resources
from local.servers import Valkey
from proof.chaos.disk import Disk, small_disk, why_no_disk
from service.features.links import journal as journals
from service.features.links.batch import CAPACITY
from service.features.links.clicks import Clicks

pytestmark = pytest.mark.anyio


@pytest.fixture
async def link_id(pg: asyncpg.Pool) -> int:
    number: int = await pg.fetchval("INSERT INTO links (code, url) VALUES ('link', 'http://example.com/') RETURNING id")
    return number


@pytest.fixture
def disk(resources: Resources) -> Iterator[Disk]:
    """`STATE_DIR`, of 1 MiB."""
    if why_not := why_no_disk():
        pytest.skip(why_not)
    with small_disk(resources.settings.state_dir, size_mib=1) as disk:
        yield disk


async def reach(pg: asyncpg.Pool, clicks: int) -> None:
    async with asyncio.timeout(20):
        while (found := await pg.fetchval("SELECT sum(clicks) FROM links")) < clicks:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert found == clicks


async def count_for_a_while(clicks: Clicks, link_id: int) -> int:
    for _ in range(50):
        clicks.count(link_id)
        await asyncio.sleep(0.03)
    return 50


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.name != "ballast"]


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_long_outage_of_redis_makes_no_files(
    resources: Resources, pg: asyncpg.Pool, valkey: Valkey, link_id: int
) -> None:
    async with Clicks(resources) as clicks:
        valkey.kill()
        before, counted = descriptors(), 0
        for _ in range(3):
            counted += await count_for_a_while(clicks, link_id)
            assert len(clicks.journal.sealed) <= 1
            assert len(files(clicks.folder)) <= 3
            assert descriptors() <= before + 5
        valkey.start()
        await reach(pg, counted)


async def test_many_links_of_an_outage_arrive_in_parts_and_the_rest_is_counted_as_lost(
    resources: Resources, pg: asyncpg.Pool, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "MOST_LINKS", 4 * CAPACITY)
    await pg.execute(
        "INSERT INTO links (code, url) SELECT 'l' || n, 'http://example.com/' FROM generate_series(1, 20000) n"
    )
    ids = [row["id"] for row in await pg.fetch("SELECT id FROM links")]
    async with Clicks(resources) as clicks:
        valkey.kill()
        clicks.count(ids[0])
        await asyncio.sleep(0.5)
        for _ in range(2):
            for link_id in ids:
                clicks.count(link_id)
            await asyncio.sleep(0.2)
        assert clicks.pending + clicks.lost == 2 * len(ids) + 1
        assert 0 < clicks.lost < len(ids)
        assert len(clicks.journal.sealed) <= 1
        kept = clicks.pending
        valkey.start()
        await reach(pg, kept)


async def test_a_full_disk_costs_no_redirect_and_no_click(
    resources: Resources, pg: asyncpg.Pool, disk: Disk, link_id: int
) -> None:
    async with Clicks(resources) as clicks:
        disk.fill()
        counted = await count_for_a_while(clicks, link_id)
        for other in range(10**6, 10**6 + 2 * CAPACITY):
            clicks.count(other)
        await reach(pg, counted)
        disk.free()
        counted += await count_for_a_while(clicks, link_id)
        await reach(pg, counted)
        assert clicks.lost == 0
    assert files(disk.folder) == []


async def test_a_worker_starts_on_a_full_disk_and_uses_it_when_there_is_room(
    resources: Resources, pg: asyncpg.Pool, disk: Disk, link_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "RETRY_DISK_S", 0.1)
    disk.fill()
    with capture_logs() as logs:
        async with Clicks(resources) as clicks:
            counted = await count_for_a_while(clicks, link_id)
            states = [clicks.in_memory]
            assert files(clicks.folder) == []
            await reach(pg, counted)
            disk.free()
            counted += await count_for_a_while(clicks, link_id)
            states.append(clicks.in_memory)
            assert await asyncio.to_thread(clicks.journal.active.is_on_disk)
            await reach(pg, counted)
    assert states == [True, False]
    assert 0 < len([line for line in logs if line["log_level"] == "error"]) <= 3


def as_file(folder: Path) -> None:
    """As good as read-only or owned by somebody else, for root too: nothing can be made in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("")


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


async def test_a_worker_starts_where_nothing_can_be_written_and_says_what_it_lost(
    resources: Resources, pg: asyncpg.Pool, valkey: Valkey, link_id: int
) -> None:
    if why_not := why_no_disk():
        pytest.skip(why_not)
    with read_only(resources.settings.state_dir):
        async with Clicks(resources) as clicks:
            await reach(pg, await count_for_a_while(clicks, link_id))
            valkey.kill()
            lost = await count_for_a_while(clicks, link_id)
        assert clicks.lost == lost


@pytest.mark.parametrize("spoil", [shutil.rmtree, as_file], ids=["deleted", "a file"])
async def test_a_folder_that_is_spoilt_while_a_worker_lives(
    resources: Resources, pg: asyncpg.Pool, link_id: int, spoil: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journals, "RETRY_DISK_S", 0.1)
    async with Clicks(resources) as clicks:
        counted = await count_for_a_while(clicks, link_id)
        await asyncio.to_thread(spoil, clicks.folder)
        counted += await count_for_a_while(clicks, link_id)
        await reach(pg, counted)
        if spoil is as_file:
            clicks.folder.unlink()
        counted += await count_for_a_while(clicks, link_id)
        await reach(pg, counted)
        assert await asyncio.to_thread(clicks.journal.active.is_on_disk)
        assert not clicks.in_memory
        assert clicks.lost == 0
