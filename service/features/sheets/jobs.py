"""The jobs of sheets: to draw one, and to forget the old ones every night."""

import io
import zipfile

import segno

from brigade import JobRun, job
from service.features.sheets import store

AT_ONCE = 100
"""Codes that a process draws before the progress is told: some 0.3 s."""


@job()
async def draw_sheet(run: JobRun, sheet: int) -> None:
    """Drawing a sheet twice gives the same file, so nothing is lost or doubled by a crash."""
    urls = await store.read_urls(run.pg, sheet)
    if urls is None:
        return
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:  # stored: a PNG is compressed already
        for start in range(0, len(urls), AT_ONCE):
            images = await run.compute(draw, urls[start : start + AT_ONCE])
            for number, image in enumerate(images, start + 1):
                archive.writestr(zipfile.ZipInfo(f"{number:05}.png"), image)
            await run.progress(start + len(images), len(urls))
    await store.keep_file(run.pg, sheet, file.getvalue())


@job(schedule="47 3 * * *")
async def forget_sheets(run: JobRun) -> None:
    """Sheets are kept for a week."""
    await store.forget_sheets(run.pg)


def draw(urls: list[str]) -> list[bytes]:
    return [_draw(url) for url in urls]


def _draw(url: str) -> bytes:
    image = io.BytesIO()
    segno.make_qr(url).save(image, kind="png", scale=8)
    return image.getvalue()
