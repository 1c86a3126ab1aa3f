"""Arguments of the scenarios: on Locust's command line, and as fields in its web UI. Registered once for all of them."""

from pathlib import Path
from typing import Any

from locust import events
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment

from loadtests.schedule import GAPS_S
from loadtests.shape import LOADS

LESSON = "lesson"


@events.init_command_line_parser.add_listener
def add_arguments(parser: LocustArgumentParser) -> None:
    # Straight on the parser: what is added to a group of it does not show in the web UI.
    add = parser.add_argument
    # The page has its own way to choose, above the form's fields.
    add("--scenario", default=LESSON, include_in_web_ui=False, help="One scenario by its class; without it, the lesson")
    add("--stage-s", type=float, default=20.0, env_var="LOCUST_STAGE_S", help="Seconds of each stage of the lesson")
    add("--load", choices=list(LOADS), default="steady", help="How the users of a single scenario come and go")
    add("--ops-url", default="", help="Where to ask for /workers, if not at the host: its OPS_PORT")
    add(
        "--ms",
        type=int,
        default=0,
        help="Milliseconds of a sleep or a CPU job of the lab; 0 for what the scenario says",
    )
    add("--arrivals", type=float, default=200.0, help="Arrivals a second of a scenario whose visitors do not wait")
    add("--arrival-times", choices=list(GAPS_S), default="poisson", help="At random moments, or evenly spaced")
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
