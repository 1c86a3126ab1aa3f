"""Replaces the api containers by ones of the image as it is now, one at a time. Builds nothing.

An old container goes when a new one is ready; a new one that never gets ready goes, and the old ones stay. `docker
compose` finds its files as always: COMPOSE_FILE, COMPOSE_PROJECT_NAME, .env.
"""

import json
import subprocess
import sys
import time

from patience import read_patience_s, require_docker

PATIENCE_S = read_patience_s(120)


class Failed(Exception):
    """What a new container did instead of getting ready."""


def docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def containers(service: str = "api") -> list[str]:
    return docker("compose", "ps", "--all", "--quiet", service).split()


def remove_stopped(service: str) -> None:
    docker("compose", "rm", "--force", service)  # or it would be started again in place of a new one


def start(service: str, count: int = 1) -> str:
    """One container more, `count` in all. Nothing that runs is touched, whatever has changed in the Compose file."""
    before = containers(service)
    docker("compose", "up", "--detach", "--no-recreate", "--scale", f"{service}={count}", service)
    return next(container for container in containers(service) if container not in before)


def migrate() -> None:
    remove_stopped("migrate")
    container = start("migrate")
    if docker("wait", container) != "0":
        raise Failed(docker("logs", container))


def await_ready(container: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        state = json.loads(docker("inspect", "--format", "{{json .State}}", container))
        health = state["Health"]["Status"]
        if health == "healthy":
            return
        if health == "unhealthy" or state["Status"] != "running":
            raise Failed(f"a new container is {state['Status']} and {health}")
        if time.monotonic() > deadline:
            raise Failed(f"a new container was not ready after {PATIENCE_S:g} s")
        time.sleep(0.5)


def replace(old: str) -> str:
    new = start("api", count=len(containers()) + 1)
    try:
        await_ready(new)
    except (Failed, KeyboardInterrupt):
        print(docker("logs", "--tail", "20", new), file=sys.stderr)
        docker("rm", "--force", new)
        raise
    docker("stop", old)  # within the stop_grace_period of the Compose file
    docker("rm", old)
    print(f"{old[:12]} -> {new[:12]}", flush=True)
    return new


def main() -> None:
    require_docker()
    remove_stopped("api")
    old, new = containers(), list[str]()
    if not old:
        sys.exit("Nothing runs yet: docker compose up --detach --wait")
    image, name = (docker("inspect", "--format", what, old[0]) for what in ("{{.Image}}", "{{.Config.Image}}"))
    try:
        migrate()
        for container in old:
            new.append(replace(container))
    except (Failed, subprocess.CalledProcessError, KeyboardInterrupt) as reason:
        docker("tag", image, name)  # or the next `up` would start what has just failed
        migrate()
        for container in new:
            replace(container)
        sys.exit(f"Rolled back, and the service runs as it did before: {str(reason) or 'interrupted'}")


main()
