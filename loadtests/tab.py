"""The tab "Service" of Locust's web UI, which comes first, and the choice of a scenario above its form.

Locust's own page is served as it is, with one script of ours added to it. Only the process with the web UI has any of it.
"""

import mimetypes
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gevent
from flask import Flask, Response, abort, jsonify
from locust import events
from locust.env import Environment
from locust.runners import WorkerRunner
from locust.web import WebUI

from loadtests.lesson import LESSON_TEXT, LESSON_TITLE, STAGES, Lesson, scenarios, told
from loadtests.machine import is_beside
from loadtests.options import LESSON
from loadtests.runs import Runs
from loadtests.shown import about, notes, table
from loadtests.watch import Watch
from loadtests.words import as_link

KEY = "seen"
PAGE = Path(__file__).parent / "page"
HEAD = b'<link rel="stylesheet" href="./service/page/style.css"><script src="./service/page/first.js"></script>'
BODY = b'<script type="module" src="./service/page/main.js"></script>'
RUNS = Path(os.environ.get("LOCUST_RUNS", Path(__file__).parent.parent / ".local" / "locust" / "runs.jsonl"))
SPAWN_RATE = 50.0
"""Users a second, unless somebody says otherwise: Locust's own default is one."""
ADDRESSES = "LOCUST_ADDRESSES"
"""The variable with the addresses of Locust's page and of the service, a space between; they are printed at the start."""


@events.init.add_listener
def install(environment: Environment, **_: object) -> None:
    web_ui = environment.web_ui
    if web_ui is None or isinstance(environment.runner, WorkerRunner):
        return
    watch = Watch(environment, Runs(RUNS))
    environment.events.test_start.add_listener(lambda **_: watch.begin())
    environment.events.test_stop.add_listener(lambda **_: watch.end())
    gevent.spawn(watch.ask_for_ever)
    gevent.spawn(watch.follow_for_ever)
    web_ui.template_args |= {
        "extended_tabs": [{"title": "Service", "key": KEY}],
        "extended_csv_files": [{"href": "./service/runs.csv", "title": "Download what is left of each run (CSV)"}],
    }
    assert web_ui.app
    options: Any = environment.parsed_options
    options.spawn_rate = options.spawn_rate or SPAWN_RATE
    _add_to_page(web_ui.app)
    _add_routes(web_ui.app, web_ui, watch, prefix=f"{options.web_base_path or ''}/service")
    if addresses := os.environ.get(ADDRESSES):
        page, service = map(as_link, addresses.split())
        sys.stdout.write(welcome(page, service))
        sys.stdout.flush()


def welcome(page: str, service: str) -> str:
    return (
        f"\nLocust   {page}   press Start once: a lesson of two minutes, told as it happens\n"
        f"Service  {service}   its live page is {service}/lab\n\n"
    )


def _add_to_page(app: Flask) -> None:
    @app.after_request
    def add(response: Response) -> Response:
        if response.mimetype == "text/html" and b"window.templateArgs" in (page := response.get_data()):
            response.set_data(page.replace(b"</head>", HEAD + b"</head>").replace(b"</body>", BODY + b"</body>"))
        return response


def _add_routes(app: Flask, web_ui: WebUI, watch: Watch, *, prefix: str) -> None:
    runs, login = watch.runs, web_ui.auth_required_if_enabled

    @app.route(f"{prefix}/state")
    @login
    def state() -> Response:
        return jsonify(_state(watch))

    @app.route(f"{prefix}/choices")
    @login
    def choices() -> Response:
        return jsonify(_choices(watch.environment))

    @app.route(f"{prefix}/runs.json")
    @login
    def runs_as_json() -> Response:
        return jsonify([asdict(run) for run in runs.rows])

    @app.route(f"{prefix}/runs.csv")
    @login
    def runs_as_csv() -> Response:
        headers = {"Content-Disposition": "attachment; filename=runs.csv"}
        return Response(runs.as_csv(), mimetype="text/csv", headers=headers)

    @app.route(f"{prefix}/page/<name>")
    def part(name: str) -> Response:
        if name not in {path.name for path in PAGE.iterdir()}:
            abort(404)
        return Response((PAGE / name).read_bytes(), mimetype=mimetypes.guess_type(name)[0])


def _state(watch: Watch) -> dict[str, Any]:
    watch.watched_at = time.monotonic()
    watch.look()
    return {
        "running": watch.running,
        "line": watch.line,
        "notes": [*notes(watch), *_beside(watch)],
        **about(watch),
        "points": list(watch.points),
        "marks": watch.marks,
        "workers": table(watch),
        "comparison": watch.runs.compared(),
        "now": time.time(),
    }


def _beside(watch: Watch) -> list[str]:
    """Warn of a generator, and of others, on the service's machine: they use some of the CPU that is measured."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    if not is_beside(watch.environment.host):
        return []
    shared = f"Locust and the service share {cores} cores here: with as many workers as cores, the ratios below are too small."
    return [*(watch.machine.warnings(os.cpu_count() or 1) if watch.running else []), shared]


def _choices(environment: Environment) -> list[dict[str, Any]]:
    """Return what can be started, the lesson first. Without the lesson's shape, Locust's own form says what runs."""
    if not isinstance(environment.shape_class, Lesson):
        return []
    known = scenarios(environment.available_user_classes or {})
    singles = [
        {"key": name, "title": title, "text": text, "users": each.crowd}
        for name, each in known.items()
        for title, text in [told(each)]
    ]
    if not known.keys() & set(STAGES):
        return singles
    return [{"key": LESSON, "title": LESSON_TITLE, "text": LESSON_TEXT, "users": None}, *singles]
