"""`make dev` for real: new code on save, old code while the new does not start, and a debugger at the terminal."""

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

from tests.brigade.ops.test_ops import eventually
from tests.e2e.local.clone import Clone, LocalRun, users

ROUTE = """
_create_app = create_app

def create_app(settings=None):
    async def answer():
        {statement}

    app = _create_app(settings)
    app.add_api_route("/saved", answer)
    return app
"""
STOP_AT_BREAKPOINT = "answer = 41; breakpoint(); return answer + 1"


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Clone]:
    parent = tmp_path / "clone"
    parent.mkdir()
    clone = Clone.make(parent, user=users()[0])
    yield clone
    clone.clear()


def save(clone: Clone, statement: str) -> None:
    """As a person would, who adds a route to the service."""
    main = clone.folder / "service" / "main.py"
    whole = main.read_text().partition("\n_create_app")[0]
    main.write_text(whole + ROUTE.format(statement=statement))


def start(clone: Clone) -> LocalRun:
    run = clone.start(sys.executable, "-m", "local", "dev")
    run.wait_for("Save a file")
    return run


def test_dev_serves_what_is_saved_and_the_old_code_while_that_is_broken(clone: Clone) -> None:
    run = start(clone)
    url = f"{run.url}/saved"
    assert httpx.get(url).status_code == 404
    save(clone, "return 'first'")
    eventually(lambda: httpx.get(url).text == '"first"', within_s=60)
    save(clone, "return (")
    run.wait_for("Not reloaded, the workers serve on as they are: SyntaxError")
    assert "main.py" in run.output()
    assert httpx.get(url).text == '"first"'
    save(clone, "return 'second'")
    eventually(lambda: httpx.get(url).text == '"second"', within_s=60)
    assert run.end() == 0
    assert clone.processes() == []


def test_breakpoint_stops_in_the_terminal_for_as_long_as_it_takes(clone: Clone) -> None:
    terminal, stdin = os.openpty()
    run = start(replace(clone, stdin=stdin))
    save(clone, STOP_AT_BREAKPOINT)
    run.wait_for("ended: told")
    with ThreadPoolExecutor() as client:
        answer = client.submit(httpx.get, f"{run.url}/saved", timeout=60)
        run.wait_for("(Pdb)")
        os.write(terminal, b"p answer * 2\nc\n")
        assert answer.result(60).text == "42"
        run.wait_for("82")

        client.submit(httpx.get, f"{run.url}/saved", timeout=60)
        eventually(lambda: run.output().count("(Pdb)") > 2, within_s=60)
        assert run.end() == 0  # also while it stands there
    assert clone.processes() == []
    for descriptor in (terminal, stdin):
        os.close(descriptor)
