"""Deploys the Compose files, or what has changed in them, as a stack of Docker Swarm, and waits for it. Builds nothing.

`docker compose` finds its files as always (COMPOSE_FILE, .env) and puts them together; left out is what `docker stack
deploy` does not take. A change of the image or of a variable is a rolling update, and one that fails rolls itself back.
"""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from patience import read_patience_s, require_docker

PATIENCE_S = read_patience_s(300)
NOT_IN_SWARM = {"build", "depends_on", "profiles", "restart", "security_opt", "shm_size"}


def main() -> None:
    require_docker()
    config = json.loads(docker("compose", "config", "--format", "json"))
    stack = config.pop("name")
    for service in config["services"].values():
        adapt(service)
    for kind in ("configs", "secrets"):
        for name, entry in config.get(kind, {}).items():
            # Swarm changes none: another content is another name.
            entry["name"] = f"{stack}-{name}-{digest(entry['file'])}"
    deploy = ["stack", "deploy", "--detach=true", "--prune", "--resolve-image", "never", "--compose-file", "-", stack]
    docker(*deploy, stdin=json.dumps(config))
    names = [f"{stack}_{name}" for name in config["services"]]
    deadline = time.monotonic() + PATIENCE_S
    while not all(map(settled, names)):
        if time.monotonic() > deadline:
            sys.exit(f"Not everything runs after {PATIENCE_S:g} s: docker stack ps --no-trunc {stack}")
        time.sleep(0.5)
    if rolled_back := [name for name in names if state(name).startswith("rollback")]:
        sys.exit(f"Rolled back: {', '.join(rolled_back)}. What was wrong: docker stack ps --no-trunc {stack}")


def docker(*arguments: str, stdin: str | None = None) -> str:
    done = subprocess.run(["docker", *arguments], input=stdin, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    return done.stdout.strip()


def state(service: str) -> str:
    """Of its last update; empty where there was none."""
    return docker("service", "inspect", "--format", "{{with .UpdateStatus}}{{.State}}{{end}}", service)


def settled(service: str) -> bool:
    """Whether as many run as are wanted, and no update is under way."""
    running, _, wanted = docker("service", "ls", "--filter", f"name={service}", "--format", "{{.Replicas}}").partition(
        "/"
    )
    return running == wanted and state(service) not in {"updating", "rollback_started"}


def adapt(service: dict[str, Any]) -> None:
    for key in [key for key, value in service.items() if key in NOT_IN_SWARM or value is None]:
        del service[key]
    for port in service.get("ports", []):
        # The proxy sees whose requests they are; through Swarm's mesh they would all come from itself.
        port |= {"published": int(port["published"]), "mode": "host"}
        port.pop("host_ip", None)
    folders = [path.partition(":")[0] for path in service.pop("tmpfs", [])]
    service.setdefault("volumes", []).extend({"type": "tmpfs", "target": folder} for folder in folders)


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]


main()
