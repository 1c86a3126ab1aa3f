"""The engine and what is deployed with it name nothing of the sample."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OF_THE_SAMPLE = re.compile(r"\b(segno|idna|QR|clicks?|short links?|drawings?|PUBLIC_URL|public_url)\b|/r/|/links")
FILES = [
    *(path for path in sorted((ROOT / "brigade").rglob("*")) if path.suffix in {".py", ".toml", ".html"}),
    *sorted((ROOT / "deploy" / "kubernetes" / "base").iterdir()),
    ROOT / "Dockerfile",
]


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_word_of_the_sample(file: Path) -> None:
    assert [line for line in file.read_text().splitlines() if OF_THE_SAMPLE.search(line)] == []
