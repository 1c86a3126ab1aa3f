"""The manifests as they are rendered: whole, closed, in the right order, and within the connections that there are."""

import os
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.main import create_app
from service.settings import Settings

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "deploy" / "kubernetes"
BIN = Path(sys.executable).parent
SERVING = ["one-worker-pods", "multi-worker-pods", "openshift"]
OVERLAYS = [*SERVING, "loadtest"]
WITHOUT_SCHEMA = {"ServiceMonitor", "PodMonitor", "Route"}
"""An operator, or OpenShift, brings its definition along."""
SCRAPED = yaml.safe_load((ROOT / "deploy" / "prometheus.yml").read_text())

Object = dict[str, Any]


def kustomize(folder: Path) -> str:
    done = subprocess.run([BIN / "kubectl", "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@cache
def rendered(overlay: str) -> str:
    return kustomize(FOLDER / "overlays" / overlay)


def objects(overlay: str) -> list[Object]:
    return list(yaml.safe_load_all(rendered(overlay)))


def one(overlay: str, kind: str, name: str) -> Object:
    (found,) = (each for each in objects(overlay) if (each["kind"], each["metadata"]["name"]) == (kind, name))
    return found


def pod_of(workload: Object) -> Object:
    pod: Object = workload["spec"]["template"]["spec"]
    return pod


def pods(overlay: str) -> list[Object]:
    return [pod_of(each) for each in objects(overlay) if each["kind"] in {"Deployment", "Job"}]


def api(overlay: str) -> Object:
    (container,) = pod_of(one(overlay, "Deployment", "api"))["containers"]
    return dict(container)


def settings(overlay: str) -> dict[str, str]:
    (reference,) = api(overlay)["envFrom"]
    values: dict[str, str] = one(overlay, "ConfigMap", reference["configMapRef"]["name"])["data"]
    return values | {entry["name"]: entry["value"] for entry in api(overlay)["env"]}


def overlay_with(folder: Path, base: str, text: str) -> Path:
    """An overlay of one's own on top of one of ours."""
    resources = [os.path.relpath(FOLDER / "overlays" / base, folder)]
    (folder / "kustomization.yaml").write_text(f"resources: {resources}\n{text}")
    return folder


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_what_kubernetes_takes(overlay: str) -> None:
    for each in (one for one in objects(overlay) if one["kind"] not in WITHOUT_SCHEMA):
        for version in ("1.34", "1.37"):
            kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_in_the_namespace_that_demands_restricted_pods(overlay: str) -> None:
    inside = {each["metadata"].get("namespace") for each in objects(overlay) if each["kind"] != "Namespace"}
    assert inside == {"brigade"}
    labels = one("one-worker-pods", "Namespace", "brigade")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_have_what_they_ask_for_and_no_more_and_change_nothing(overlay: str) -> None:
    for pod in pods(overlay):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False  # a Service named jobs would set JOBS_PORT to tcp://...
        # A user or group of our own choice is what OpenShift's restricted-v2 rejects.
        assert pod["securityContext"].keys() == {"runAsNonRoot", "seccompProfile"}
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["resources"]["requests"] == container["resources"]["limits"]
            assert container["resources"]["limits"].keys() == {"cpu", "memory"}
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert all("value" in entry for entry in container.get("env", []))  # no secret in the environment


@pytest.mark.parametrize("overlay", SERVING)
def test_probes_ask_addresses_that_are_there_and_are_slower_than_gunicorn(overlay: str) -> None:
    container, variables = api(overlay), settings(overlay)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"http": 8000, "ops": int(variables["OPS_PORT"])}
    known = create_app().openapi()["paths"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"] in known
        assert container[probe]["httpGet"]["port"] == "ops"
    alive = container["livenessProbe"]
    assert alive["httpGet"]["path"] == "/livez"  # asks no backend: a lost Postgres must not restart every pod
    assert alive["periodSeconds"] * alive["failureThreshold"] > float(variables["WORKER_TIMEOUT_S"])


@pytest.mark.parametrize("overlay", SERVING)
def test_rollout_takes_nothing_away_before_it_has_something_better(overlay: str) -> None:
    deployment = one(overlay, "Deployment", "api")
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0
    assert "replicas" not in deployment["spec"]  # each `kubectl apply` would undo what the autoscaler did
    scaler, budget = one(overlay, "HorizontalPodAutoscaler", "api"), one(overlay, "PodDisruptionBudget", "api")
    assert scaler["spec"]["minReplicas"] > budget["spec"]["maxUnavailable"]
    spread = {each["topologyKey"] for each in pod_of(deployment)["topologySpreadConstraints"]}
    assert spread == {"topology.kubernetes.io/zone", "kubernetes.io/hostname"}
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (deployment["spec"]["selector"], budget["spec"]["selector"]):
        assert selector["matchLabels"].items() <= labels.items()
    assert one(overlay, "Service", "api")["spec"]["selector"].items() <= labels.items()


@pytest.mark.parametrize("overlay", SERVING)
def test_no_pod_is_believed_that_is_not_the_ingress(overlay: str) -> None:
    """Where proxies are trusted at all, nobody else reaches the port. An overlay of one's own names its ingress."""
    believed = settings(overlay).keys() & {"TRUSTED_PROXIES", "FORWARDED_ALLOW_IPS"}
    policies = [each["spec"] for each in objects(overlay) if each["kind"] == "NetworkPolicy"]
    rules = [rule for policy in policies for rule in policy.get("ingress", []) if {"port": "http"} in rule["ports"]]
    assert all("from" in rule for rule in rules) or not believed


@pytest.mark.parametrize("overlay", SERVING)
def test_settings_are_settings_of_the_service(overlay: str) -> None:
    known = {name.upper() for name in Settings.model_fields}
    assert {name.removesuffix("_FILE") for name in settings(overlay)} <= known
    mounts = {mount["mountPath"] for mount in api(overlay)["volumeMounts"]}
    assert mounts == {"/run/secrets/brigade", "/state", "/tmp"}
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert re.search(r"STATE_DIR=/state PROMETHEUS_MULTIPROC_DIR=/tmp/", dockerfile)


def test_one_worker_pod_is_one_cpu() -> None:
    assert api("one-worker-pods")["resources"]["limits"]["cpu"] == "1"
    assert settings("one-worker-pods")["WEB_CONCURRENCY"] == "1"
    assert "WEB_CONCURRENCY" not in settings("multi-worker-pods")  # it counts its CPUs


@pytest.mark.parametrize("overlay", SERVING)
def test_only_prometheus_reaches_the_port_of_operators(overlay: str) -> None:
    policies = [each["spec"] for each in objects(overlay) if each["kind"] == "NetworkPolicy"]
    closed = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert closed in policies
    rules = [rule for policy in policies for rule in policy.get("ingress", [])]
    doors = {port["port"]: rule.get("from") for rule in rules for port in rule["ports"]}
    assert doors.keys() == {"http", "ops", "metrics"}
    for who in (*doors["ops"], *doors["metrics"]):
        assert "namespaceSelector" in who
        assert who["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}
    assert settings(overlay)["OPS_PUBLIC"] == "false"


def check(manifest: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "deploy/kubernetes/check.py", *arguments]
    env = {"PATH": os.environ["PATH"], "REPLICAS": "1000"}  # of this terminal: it must not count
    return subprocess.run(command, cwd=ROOT, input=manifest, capture_output=True, text=True, check=False, env=env)


@pytest.mark.parametrize("overlay", SERVING)
def test_check_counts_the_connections_of_the_autoscalers_maximum(overlay: str) -> None:
    passed = check(rendered(overlay), "--max-connections", "400")
    assert passed.returncode == 0, passed.stderr
    most = one(overlay, "HorizontalPodAutoscaler", "api")["spec"]["maxReplicas"]
    assert settings(overlay)["REPLICAS"] == str(most)
    found = re.fullmatch(
        r"(\d+) pods x (\d+) workers x (\d+) connections, .*: (\d+) of a budget of (\d+)\.\n", passed.stdout
    )
    assert found
    pods_, workers, pool, worst, budget = map(int, found.groups())
    assert pods_ == most
    assert 2 * most * workers * pool == worst <= budget == 368


@pytest.mark.parametrize(
    ("pattern", "instead", "variables"),
    [
        ("maxReplicas: .*", "maxReplicas: 60", ["REPLICAS", "60 pods"]),
        ("DB_CONNECTION_BUDGET: .*", 'DB_CONNECTION_BUDGET: "60"', ["DB_CONNECTION_BUDGET", "needs 80"]),
        ("DB_CONNECTION_BUDGET: .*", 'DB_CONNECTION_BUDGET: "500"', ["max_connections 400"]),
        (
            "terminationGracePeriodSeconds: .*",
            "terminationGracePeriodSeconds: 40",
            ["terminationGracePeriodSeconds", "45"],
        ),
        ("memory: 256Mi", "memory: 200Mi", ["WORKER_MEMORY_MB", "200"]),
        ("WEB_CONCURRENCY: .*", "WEB_CONCURRENCY: none", ["WEB_CONCURRENCY", "none"]),
        ("memory: 256Mi", "memory: 200M", ["The memory limit is 190 MiB"]),
        ("memory: 256Mi", "memory: plenty", ["plenty", "no quantity"]),
        (" +limits:\n +cpu: .*\n +memory: 256Mi\n", "", ["no limit of cpu"]),
        (
            "- name: REPLICAS\n +value: .*",
            "- {name: REPLICAS, valueFrom: {secretKeyRef: {name: a, key: b}}}",
            ["REPLICAS", "`value`"],
        ),
        (r"name: api(\n +ports:\n +- containerPort)", r"name: web\1", ["no container named api"]),
        ("GRACEFUL_TIMEOUT_S: .*", "RATE_LIMIT: 300/minute", ["RATE_LIMIT", "TRUSTED_PROXIES"]),
        ("(?s).*", "{", ["check: "]),
    ],
)
def test_check_refuses_in_a_sentence(pattern: str, instead: str, variables: list[str]) -> None:
    changed, times = re.subn(pattern, instead, rendered("one-worker-pods"))
    assert times
    refused = check(changed, "--max-connections", "400")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert all(variable in refused.stderr for variable in variables)


def test_check_reads_the_autoscaler_of_this_deployment() -> None:
    other = "{kind: HorizontalPodAutoscaler, metadata: {name: a}, spec: {scaleTargetRef: {kind: Deployment, name: a}, maxReplicas: 1}}"
    refused = check(f"{other}\n---\n{rendered('one-worker-pods').replace('maxReplicas: 40', 'maxReplicas: 99')}")
    assert "there may be 99 pods" in refused.stderr


def test_replicas_of_ones_own_overlay_are_checked(tmp_path: Path) -> None:
    """What our overlays do with `replacements` is not done again on top of them: the check is what notices."""
    patch = """
patches:
  - target: {kind: HorizontalPodAutoscaler, name: api}
    patch: |-
      - {op: replace, path: /spec/maxReplicas, value: 100}
"""
    refused = check(kustomize(overlay_with(tmp_path, "multi-worker-pods", patch)))
    assert "REPLICAS is 10 and there may be 100 pods" in refused.stderr


def test_components_fit_on_top(tmp_path: Path) -> None:
    chosen = [os.path.relpath(path, tmp_path) for path in sorted((FOLDER / "components").iterdir())]
    folder = overlay_with(tmp_path, "multi-worker-pods", f"components: {chosen}\n")
    found = list(yaml.safe_load_all(kustomize(folder)))
    for each in found:
        if each["kind"] not in WITHOUT_SCHEMA:
            kubernetes_validate.validate(each, "1.37", strict=True)
    scaler = next(
        each for each in found if (each["kind"], each["metadata"]["name"]) == ("HorizontalPodAutoscaler", "api")
    )
    asked = {metric["pods"]["metric"]["name"] for metric in scaler["spec"]["metrics"] if metric["type"] == "Pods"}
    rules = yaml.safe_load((FOLDER / "components" / "scale-on-load" / "adapter-rules.yaml").read_text())["rules"]
    assert asked == {rule["name"]["as"] for rule in rules}
    (monitor,) = (each for each in found if each["kind"] == "ServiceMonitor")
    ops = one("multi-worker-pods", "Service", "api-ops")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= ops["metadata"]["labels"].items()
    (runners,) = (each for each in found if each["kind"] == "PodMonitor")
    pod = one("multi-worker-pods", "Deployment", "jobs")["spec"]["template"]
    assert runners["spec"]["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (endpoint,), (runner,) = monitor["spec"]["endpoints"], runners["spec"]["podMetricsEndpoints"]
    assert runner["port"] in [port["name"] for port in pod["spec"]["containers"][0]["ports"]]
    told = [{"targetLabel": "job", "replacement": job["job_name"]} for job in SCRAPED["scrape_configs"]]
    assert [*runner["relabelings"], *endpoint["relabelings"]] == told, "alerts know a target by its job"


@pytest.mark.parametrize("overlay", SERVING)
def test_as_many_runners_of_jobs_as_connections_are_kept_for(overlay: str) -> None:
    assert one(overlay, "HorizontalPodAutoscaler", "jobs")["spec"]["maxReplicas"] == int(
        settings(overlay)["JOBS_RUNNERS"]
    )
