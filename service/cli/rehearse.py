"""`python -m service rehearse`: whether new workers would start, told to the person who is about to reload."""

import uvloop

from service.cli.run import check_state_dir
from service.main import create_app
from service.serving.rehearsal import start_and_end
from service.settings import load_settings
from service.sizing import make_plan, read_limits


def main() -> int:
    settings = load_settings()
    check_state_dir(settings)
    make_plan(settings, read_limits())
    uvloop.run(start_and_end(create_app(settings)))
    return 0
