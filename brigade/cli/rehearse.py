"""`python -m service rehearse`: whether new workers would start, told to the person who is about to reload."""

import uvloop

from brigade.cli.run import check_state_dir
from brigade.server.rehearsal import start_and_end
from brigade.settings import load_settings
from brigade.sizing import make_plan, read_limits
from service.main import create_app


def main() -> int:
    settings = load_settings()
    check_state_dir(settings)
    make_plan(settings, read_limits())
    uvloop.run(start_and_end(create_app(settings)))
    return 0
