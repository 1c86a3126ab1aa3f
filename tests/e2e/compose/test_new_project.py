"""A project of `make new` comes up by `docker compose up`, and its image has nothing that only the sample needs."""

import os
import subprocess
import sys
from pathlib import Path

import httpx

from local.process import free_port
from tests.e2e.compose.stack import ROOT, Stack

HAS = "import sys; from importlib.util import find_spec; print([name for name in sys.argv[1:] if find_spec(name)])"


def test_new_project_comes_up_without_the_packages_of_the_sample(engine: None, tmp_path: Path) -> None:
    folder = tmp_path / "apples"
    make = [sys.executable, "local/project.py", "new", "apples", str(folder)]
    subprocess.run(make, cwd=ROOT, env={"PATH": os.environ["PATH"]}, check=True, capture_output=True)
    stack = Stack(
        folder, project="brigade-e2e-new", port=free_port(), IMAGE="brigade-e2e-new", LOCUST_PORT=str(free_port())
    )
    stack.down()
    try:
        stack.shell("docker compose up --detach --build --wait")
        assert httpx.post(f"{stack.url}/notes", json={"text": "a"}, trust_env=False).status_code == 201
        assert stack.get("/openapi.json").json()["info"]["title"] == "Apples"
        assert stack.execute(stack.container("api"), "python", "-c", HAS, "segno", "zxingcpp", "service") == "[]"
        assert stack.execute(stack.container("api"), "python", "-c", HAS, "apples") == "['apples']"
    finally:
        stack.down()
        stack.run("docker", "image", "rm", "--force", "brigade-e2e-new:latest", check=False)
