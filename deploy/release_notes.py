"""Prints the section of CHANGELOG.md for a tag: `python3 deploy/release_notes.py v0.2.0`.

Refuses a tag that has no section, or that the code does not carry as its version.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = {
    "pyproject.toml": r'^version = "(.+)"$',
    "brigade/__init__.py": r'^__version__ = "(.+)"$',
    "Dockerfile": r"^ARG VERSION=(.+)$",
}


def main(tag: str) -> None:
    version = tag.removeprefix("v")
    for name, pattern in PLACES.items():
        found = re.search(pattern, (ROOT / name).read_text(), re.M)
        if found is None or found[1] != version:
            sys.exit(f"{name} has version {found[1] if found else 'none'}, and the tag is {tag}.")
    print(notes(version, (ROOT / "CHANGELOG.md").read_text()))


def notes(version: str, changelog: str) -> str:
    """Return what stands below the heading of the version."""
    found = re.search(rf"^## \[{re.escape(version)}\].*\n((?:(?!## ).*\n)*)", changelog, re.M)
    if found is None or not found[1].strip():
        sys.exit(f"CHANGELOG.md says nothing about {version}.")
    return found[1].strip()


if __name__ == "__main__":
    main(sys.argv[1])
