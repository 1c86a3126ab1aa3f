"""Refuses, in a sentence each, what a cluster would take and not be able to keep. From the repository's folder:

kubectl kustomize deploy/kubernetes/overlays/one-worker-pods | python deploy/kubernetes/check.py --max-connections 400
"""

import argparse
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from brigade.settings import ConfigurationError, load_settings
from brigade.sizing import GENERATIONS, MIB, Limits, Plan, make_plan
from service.settings import Settings

MASTER_MB = 64
"""Of Gunicorn's master, which holds the packages that its workers share."""
COUNTED = {
    "REPLICAS",
    "WEB_CONCURRENCY",
    "DB_CONNECTION_BUDGET",
    "WORKER_MEMORY_MB",
    "STOP_DELAY_S",
    "GRACEFUL_TIMEOUT_S",
}
"""Settings that must stand in the manifest."""
SPARE_S = 5
"""Between the end of the longest drain and the kill."""
UNITS = {"m": 1e-3, "": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}

Object = dict[str, Any]


class Api:
    """The Deployment `api`, as far as its promises go."""

    def __init__(self, objects: list[Object]) -> None:
        self.deployment = _one(objects, "Deployment", "api")
        self.pod = self.deployment["spec"]["template"]["spec"]
        self.container: Object = next((one for one in self.pod["containers"] if one["name"] == "api"), {})
        if not self.container:
            raise ConfigurationError("The Deployment api has no container named api.")
        self.settings = _settings(_environment(self.container, objects))
        self.limits = Limits(self._limit("cpu"), "manifest", int(self._limit("memory")), "manifest")
        scalers = [
            one
            for one in objects
            if one["kind"] == "HorizontalPodAutoscaler"
            and (one["spec"]["scaleTargetRef"]["kind"], one["spec"]["scaleTargetRef"]["name"]) == ("Deployment", "api")
        ]
        self.jobs = any((one["kind"], one["metadata"]["name"]) == ("Deployment", "jobs") for one in objects)
        self.most_pods: int = (
            scalers[0]["spec"]["maxReplicas"] if scalers else self.deployment["spec"].get("replicas", 1)
        )

    def _limit(self, name: str) -> float:
        limits = self.container.get("resources", {}).get("limits", {})
        if name not in limits:
            raise ConfigurationError(
                f"The container api has no limit of {name}: its workers would be those of the node."
            )
        return _quantity(limits[name])

    def plan(self, max_connections: int | None) -> Plan:
        return make_plan(self.settings, self.limits, max_connections=max_connections, jobs=self.jobs)


def refusals(api: Api, plan: Plan) -> Iterator[str]:
    settings = api.settings
    if settings.replicas < api.most_pods:
        worst = GENERATIONS * api.most_pods * plan.workers * plan.db_pool
        yield (
            f"REPLICAS is {settings.replicas} and there may be {api.most_pods} pods, which a rollout doubles: up to {worst} "
            f"connections, and DB_CONNECTION_BUDGET is {plan.connection_budget}. Set REPLICAS to {api.most_pods}."
        )
    if settings.rate_limit and "trusted_proxies" not in settings.model_fields_set:
        yield (
            "RATE_LIMIT counts requests by address and TRUSTED_PROXIES is not set, so all visitors behind an ingress would be "
            "one: set it to the network of the ingress controller, or to 127.0.0.1 where visitors come by themselves."
        )
    sleep_s = api.container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed_s = sleep_s + settings.stop_delay_s + settings.graceful_timeout_s + SPARE_S
    grace_s = api.pod.get("terminationGracePeriodSeconds", 30)
    if grace_s < needed_s:
        yield (
            f"terminationGracePeriodSeconds is {grace_s}, and a pod takes up to {needed_s:g} to stop: preStop {sleep_s}, "
            f"STOP_DELAY_S {settings.stop_delay_s:g}, GRACEFUL_TIMEOUT_S {settings.graceful_timeout_s:g} and {SPARE_S} to spare."
        )
    assert api.limits.memory_bytes is not None
    wanted_mb = MASTER_MB + plan.workers * settings.worker_memory_mb
    if (has_mb := api.limits.memory_bytes // MIB) < wanted_mb:
        yield (
            f"The memory limit is {has_mb} MiB, and {plan.workers} workers of WORKER_MEMORY_MB {settings.worker_memory_mb} "
            f"beside a master of {MASTER_MB} want {wanted_mb}."
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--max-connections", type=int, help="of Postgres; without it the budget is taken at its word")
    given = parser.parse_args()
    try:
        api = Api([one for one in yaml.safe_load_all(sys.stdin) if isinstance(one, dict)])
        plan = api.plan(given.max_connections)
    except (ConfigurationError, yaml.YAMLError) as refusal:
        sys.exit(f"check: {refusal}")
    if refused := list(refusals(api, plan)):
        sys.exit("\n".join(f"check: {sentence}" for sentence in refused))
    worst = GENERATIONS * api.most_pods * plan.workers * plan.db_pool
    print(
        f"{api.most_pods} pods x {plan.workers} workers x {plan.db_pool} connections, x {GENERATIONS} while a rollout runs: "
        f"{worst} of a budget of {plan.connection_budget}."
    )


def _one(objects: list[Object], kind: str, name: str) -> Object:
    for one in objects:
        if (one["kind"], one["metadata"]["name"]) == (kind, name):
            return one
    raise ConfigurationError(f"There is no {kind} named {name} in what was rendered.")


def _environment(container: Object, objects: list[Object]) -> dict[str, str]:
    """As the kubelet would make it."""
    values: dict[str, str] = {}
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            values |= _one(objects, "ConfigMap", source["configMapRef"]["name"]).get("data", {})
    for entry in container.get("env", []):
        if "valueFrom" not in entry:
            values[entry["name"]] = entry.get("value", "")
        elif entry["name"] in COUNTED:
            raise ConfigurationError(f"{entry['name']} is counted with, and comes from elsewhere: give it a `value`.")
    return values


def _settings(environment: dict[str, str]) -> Settings:
    """Of the manifest alone: nothing of this terminal, nor of a `.env` here. Its secrets are not to be had, nor wanted."""
    for name in Settings.model_fields:
        os.environ.pop(name.upper(), None)
        os.environ.pop(f"{name.upper()}_FILE", None)
    os.environ.pop("FORWARDED_ALLOW_IPS", None)
    os.environ.update({name: value for name, value in environment.items() if not name.endswith("_FILE")})
    os.environ["REQUIRE_SECRETS"] = "false"
    os.chdir("/")
    return load_settings(Settings)


def _quantity(text: str | float) -> float:
    found = re.fullmatch(r"(\d+\.?\d*(?:[eE]\d+)?)(m|k|[MGT]|[KMGT]i|)", str(text))
    if found is None:
        raise ConfigurationError(f"{text!r} is no quantity: write 500m, 1.5, 768Mi or 1Gi.")
    return float(found[1]) * UNITS[found[2]]


if __name__ == "__main__":
    main()
