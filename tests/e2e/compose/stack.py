"""A Compose project of a test's own: another name and port than a developer's, from a copy of the files."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[3]
COMMAND_S = 300
PASSED_ON = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG")


class Stack:
    def __init__(self, folder: Path, *, project: str, port: int, **env: str) -> None:
        self.folder, self.project, self.port = folder, project, port
        self.url = f"http://127.0.0.1:{port}"
        self.key = ""
        # Nothing of the developer's: a shell that has REPLICAS set must not decide this test.
        self.env = {name: os.environ[name] for name in PASSED_ON if name in os.environ} | {
            "COMPOSE_PROJECT_NAME": project,
            "IMAGE": "brigade-e2e",
            "TAG": "latest",
            "PORT": str(port),
            # Stand-ins have no other tag.
            "PROMETHEUS_IMAGE": "prom/prometheus:latest",
            **env,
        }

    def run(self, *command: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def compose(self, *arguments: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run("docker", "compose", *arguments, check=check, **env)

    def shell(self, command: str, **env: str) -> str:
        """A command as docs/deploy.md has it."""
        return self.run("sh", "-c", command, check=True, **env).stdout

    def up(self, *arguments: str, **env: str) -> None:
        self.compose("up", "--detach", "--wait", *arguments, check=True, **env)

    def back_to_one_replica(self) -> None:
        """Taken away first: told to recreate one and remove the other at once, Compose asks for one that has gone."""
        self.env.pop("REPLICAS", None)
        self.compose("rm", "--force", "--stop", "api")
        self.up()

    def down(self) -> None:
        self.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "--all", "--quiet", service).stdout.split()

    def container(self, service: str) -> str:
        (only,) = self.containers(service)
        return only

    def inspect(self, container: str) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.run("docker", "inspect", container).stdout)[0]
        return state

    def execute(self, container: str, *command: str, check: bool = True) -> str:
        return self.run("docker", "exec", container, *command, check=check).stdout.strip()

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=20, trust_env=False, **options)

    def create_link(self, target: str = "https://example.com/a", **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/links", json={"url": target}, timeout=20, trust_env=False, **options)

    def workers(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.get("/workers").json()
        return answer


def eventually(holds: Any, *, within_s: float = 30.0) -> None:
    """Ask until it is true; a bound for the machine's mood, not an expectation."""
    deadline = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {within_s:g} s"
        time.sleep(0.2)


def copy_of_the_repository(to: Path) -> Path:
    """What a clone would have: no .env, no caches, no secrets of the developer's. It is made under umask 077."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, target = ROOT / name, to / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
            target.chmod(source.stat().st_mode & 0o700)
    return to
