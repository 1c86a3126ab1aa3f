"""A project of one feature, written for a measurement that the sample has no route for."""

from pathlib import Path

FILES = {
    "pyproject.toml": '[tool.brigade]\npackage = "small"\n',
    "small/__init__.py": "",
    "small/__main__.py": """
import sys
from pathlib import Path

import brigade
from brigade.cli import main

sys.exit(main("small.main:create_app", settings=brigade.Settings, features=Path(__file__).parent / "features"))
""",
    "small/main.py": """
import brigade
from small.features import only


def create_app(settings=None):
    return brigade.Brigade(settings or brigade.load_settings(brigade.Settings), title="Small", features=[only])
""",
    "small/features/__init__.py": "",
}


def write_project(folder: Path, feature: str, jobs: str = "") -> Path:
    """Write the project whose feature is this source, with its jobs if it has any."""
    modules = {"__init__.py": feature} | ({"jobs.py": jobs} if jobs else {})
    for name, text in (FILES | {f"small/features/only/{name}": text for name, text in modules.items()}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
