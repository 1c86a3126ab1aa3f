"""How a worker lives and what it does with connections, below the application: nothing here knows FastAPI."""

from brigade.telemetry.loop_watch.stacks import is_layer

is_layer(__file__.removesuffix("__init__.py"))
