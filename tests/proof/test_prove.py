"""The whole command, against services that it starts by itself, and against one that runs already."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from proof.prove.experiment import Scope
from proof.prove.experiments import jobs
from tests.conftest import StartService
from tests.proof.conftest import ROOT


def prove(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    command = [sys.executable, "-m", "proof.prove", "--quick", "--out", str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=230, check=False)
    path = folder / "proof.json"
    return done, json.loads(path.read_text()) if path.exists() else {}


@pytest.mark.timeout(240)  # nine experiments, with services of their own
def test_prove_runs_every_experiment_of_the_documentation(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "concurrency.md").read_text()
    named = sorted({name for names in re.findall(r"proof\.prove --only ([\w -]+)", page) for name in names.split()})
    done, proof = prove(tmp_path, "--seconds", "0.3", "--connections", "500", "--only", *named, "hot-path")
    assert done.returncode in {0, 1}, done.stderr  # a verdict is this machine's affair
    assert "Four kinds of I/O at once" in done.stdout
    assert proof["results"].keys() == {*named, "hot-path"}
    assert {"awaiting", "freezing", "lane", "parallelism", "overlap", "connections", "overload", "job"} < proof[
        "verdicts"
    ].keys()
    assert proof["verdicts"]["overlap"]["ratio"] > 0
    (as_a_job,) = proof["results"]["jobs"]["as a job"]
    assert as_a_job["statuses"].keys() == {"202"}
    (window,) = proof["results"]["hot-path"]["32 following"]
    assert window["statuses"].keys() == {"307"}
    assert (tmp_path / "proof.html").exists()


def test_a_service_without_jobs_passes() -> None:
    scope = Scope(counts=(1,), most=1, users=1, seconds=1, connections=1, lane_bound=1, jobs=False)
    (experiment,) = jobs.EXPERIMENTS
    assert experiment.windows(scope) == []
    told = {(claim.verdict, claim.why) for claim in experiment.judge({}, scope)}
    assert told == {("cannot be told here", "this service has no jobs")}


def test_prove_does_not_blame_a_deployment_for_what_it_cannot_see(start_service: StartService, tmp_path: Path) -> None:
    service = start_service(1, LAB_ENABLED=0)
    done, proof = prove(tmp_path, "--host", service.url, "--only", "overlap", "scaling", "hot-path")
    verdicts = proof["verdicts"]
    assert verdicts["overlap"]["verdict"] == "cannot be told here"
    assert "the lab" in verdicts["overlap"]["why"]
    assert "a deployment has the number of workers it has" in verdicts["parallelism"]["why"]
    assert verdicts["hot-path"]["ratio"] > 0
    assert done.returncode == (1 if verdicts["hot-path"]["verdict"] == "not proved" else 0)


@pytest.mark.parametrize("host", ["https://127.0.0.1", "http://127.0.0.1:9"])
def test_prove_says_in_a_sentence_why_it_cannot_start(tmp_path: Path, host: str) -> None:
    done, _ = prove(tmp_path, "--host", host)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert host in done.stderr
