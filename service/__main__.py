"""`python -m service`: the engine's command line, for this service."""

import sys
from pathlib import Path

from brigade.cli import main
from service.settings import Settings

if __name__ == "__main__":  # a process that computes for a job imports this file too
    sys.exit(main("service.main:create_app", settings=Settings, features=Path(__file__).parent / "features"))
