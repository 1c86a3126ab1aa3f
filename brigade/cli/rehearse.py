"""`python -m service rehearse`: whether new workers would start, told to the person who is about to reload."""

from importlib import import_module

import uvloop

from brigade.cli import Project
from brigade.cli.run import check_state_dir
from brigade.server.rehearsal import start_and_end
from brigade.settings import load_settings
from brigade.sizing import make_plan, read_limits


def main(project: Project) -> int:
    settings = load_settings(project.settings)
    check_state_dir(settings)
    make_plan(settings, read_limits())
    module, _, factory = project.app.partition(":")
    app = getattr(import_module(module), factory)(settings)
    uvloop.run(start_and_end(app))
    return 0
