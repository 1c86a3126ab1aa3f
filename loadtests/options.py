"""The scenarios' own arguments: on Locust's command line, and as fields in its web UI. Registered once for all of them."""

from pathlib import Path
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

PLACES = ["in-lane", "on-loop", "in-threadpool", "in-process"]


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    # Straight on the parser: what is added to a group of it does not show in the web UI.
    add = parser.add_argument
    add("--ops-url", default="", help="Where to ask for /workers, if not at the host: its OPS_PORT")
    add("--ms", type=int, default=100, help="How long a sleep or a CPU job of the lab takes, in milliseconds")
    add("--place", choices=PLACES, default=PLACES[0], help="Where a CPU job of the lab runs")
    add("--urls", default="", help="File with a URL a line, to make links of; without it they are made up")
    add("--links-each", type=int, default=5, help="Links that each user makes at its start")
    add(
        "--api-key", default="", is_secret=True, help="For creating, listing and deleting links, where one is asked for"
    )


def option(environment: Environment, name: str) -> Any:
    """Return an option as it is now, because the web UI may change it between two runs."""
    return getattr(environment.parsed_options, name)


def read_urls(path: str) -> list[str]:
    """Return the lines of the file that can be links: http and https URLs."""
    return [line for line in Path(path).read_text().split() if line.startswith(("http://", "https://"))]
