"""What a newcomer does in the first ten minutes, in a clone with an empty home, and how long each step takes.

`python tests/e2e/first_minutes.py` prints it. It types what the README and CONTRIBUTING.md say, and nothing else.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from tests.e2e.local.clone import Clone, LocalRun, users  # noqa: E402 - a script finds it here

ROUTE = """
_create_app = create_app

def create_app(settings=None):
    async def greet():
        return "hello"

    app = _create_app(settings)
    app.add_api_route("/hello", greet)
    return app
"""


class FirstMinutes:
    def __init__(self, parent: Path) -> None:
        self._parent = parent
        self.took: dict[str, float] = {}

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        self.took[name] = time.monotonic() - started
        print(f"{self.took[name]:7.1f} s  {name}", flush=True)  # noqa: T201 - a person reads it

    def live(self, *, tests: bool = True) -> None:
        """Without the tests it takes no package of theirs, which are most of the time."""
        with self._step("git clone"):
            clone = self._clone()
        try:
            with self._step("make run, until it is ready"):
                run = clone.start("make", "run")
                run.wait_ready()
            self._look_around(run)
            run.end()
            clone.wait_until_empty()
            self._develop(clone)
            if tests:
                self._test(clone)
            self._make_project(clone)
        finally:
            clone.clear()

    def _clone(self) -> Clone:
        folder = self._parent / "brigade"
        if (ROOT / ".git").exists():
            subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        else:
            shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".venv", ".local", "__pycache__"))
        (self._parent / "home").mkdir()
        return Clone(folder, users()[0])

    def _look_around(self, run: LocalRun) -> None:
        with httpx.Client(base_url=run.url, timeout=30) as client:
            for path in ("/docs", "/lab", "/workers"):
                with self._step(f"open {path}"):
                    client.get(path).raise_for_status()
            with self._step("make a link, and follow it"):
                made = client.post("/links", json={"url": "https://example.com/first"}).raise_for_status().json()
                followed = client.get(f"/r/{made['code']}")
                assert followed.headers["location"] == "https://example.com/first"

    def _develop(self, clone: Clone) -> None:
        with self._step("make dev, until it is ready"):
            run = clone.start("make", "dev")
            run.wait_for("Save a file")
        with self._step("change a line, until it serves"):
            main = clone.folder / "service" / "main.py"
            main.write_text(main.read_text() + ROUTE)
            while httpx.get(f"{run.url}/hello").status_code != httpx.codes.OK:
                assert run.process.poll() is None, run.output()
                time.sleep(0.02)
        run.end()
        clone.wait_until_empty()
        subprocess.run(["git", "checkout", "--quiet", "service/main.py"], cwd=clone.folder, check=False)

    def _test(self, clone: Clone) -> None:
        with self._step("make test ARGS=tests/service/notes"):
            tests = clone.start("make", "test", "ARGS=tests/service/notes")
            assert tests.process.wait(300) == 0, tests.output()

    def _make_project(self, clone: Clone) -> None:
        if "\nnew:" not in (clone.folder / "Makefile").read_text():
            return
        with self._step("make new NAME=orders DIR=../orders"):
            made = clone.start("make", "new", "NAME=orders", "DIR=../orders")
            assert made.process.wait(300) == 0, made.output()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="brigade-") as folder:
        Path(folder).chmod(0o755)
        os.environ.pop("VIRTUAL_ENV", None)
        FirstMinutes(Path(folder)).live()
