"""The prose of the code and the docs keeps the rules that a machine can check."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("brigade", "service", "local", "loadtests", "proof")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
PAGES = [page for page in sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))) if page.name != "CHANGELOG.md"]
WIDTH = 100

FRAGMENTS = {
    *("And", "As", "Asked", "At", "But", "By", "Else", "For", "From", "In", "Into", "Likewise", "Of", "On", "Past"),
    *("So", "That", "Those", "Till", "Under", "What", "Whatever", "Where", "Which", "Who", "Whoever", "Whose", "With"),
}
"""Words that begin a docstring in the middle of a sentence. The subject comes first instead."""

PRIVATE = re.compile(
    r"\b(anew|for ever|by way of|likewise|whoever|whosoever|unbegun|lead on|leads on|hearken"
    r"|lets? go of|all the same|be it|be they|in vain|forthwith|betimes)\b",
    re.I,
)
"""Words and phrases that a reader has to look up, or to read twice."""


def docstrings(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each docstring: of modules, classes, functions and attributes."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value.strip()


def comments(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each comment."""
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def complaint(text: str) -> str:
    """Say what is wrong with a docstring, or nothing."""
    first = re.split(r"[\s,;:]", text, maxsplit=1)[0]
    is_question = re.match(r"[^.?]*\?", text) is not None
    if not (text[:1].isupper() or text[:1].isdigit() or text[:1] == "`"):
        return "does not start with a capital letter"
    if not text.endswith((".", ".`")):
        return "does not end with a full stop"
    if first in FRAGMENTS and not is_question:
        return f"starts with {first!r}, which begins no sentence"
    if found := PRIVATE.search(text):
        return f"says {found[0]!r}"
    return ""


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page that are neither code, nor a row of a table, nor a picture."""
    code = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and not line.startswith(("|", "!")):
            yield number, line


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_docstrings_are_sentences(path: Path) -> None:
    assert [
        f"{path}:{line} {wrong}: {text[:60]}" for line, text in docstrings(path) if (wrong := complaint(text))
    ] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_comments_use_common_words(path: Path) -> None:
    assert [f"{path}:{line}: {text}" for line, text in comments(path) if PRIVATE.search(text)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_lines_of_a_page_are_short_and_plain(page: Path) -> None:
    assert [f"{page}:{number} is {len(line)} long" for number, line in prose(page) if len(line) > WIDTH] == []
    assert [
        f"{page}:{number} says {found[0]!r}" for number, line in prose(page) if (found := PRIVATE.search(line))
    ] == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("Seconds to wait for a connection.", ""),
        ("`make run`: the service with stores of its own.", ""),
        ("a worker.", "does not start with a capital letter"),
        ("A worker", "does not end with a full stop"),
        ("Of the event loop: so many are taken at most.", "starts with 'Of', which begins no sentence"),
        ("Import everything anew.", "says 'anew'"),
    ],
)
def test_the_rules_find_what_they_are_for(text: str, wrong: str) -> None:
    assert complaint(text) == wrong
