"""What the schema promises of links, asked by somebody who holds a key and has only read the schema."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.length import TIMES

# A schema cannot say "in the future": a time that has passed fits it, and is refused. If-None-Match is a list of texts, and one
# text, which Schemathesis takes for wrong, is the same on the wire.
CONFIG = """
[[operations]]
include-name = "POST /links"
checks.positive_data_acceptance.expected-statuses = ["2xx", 409, 422]

[[operations]]
include-name = "GET /links/{code}/qr"
checks.negative_data_rejection.enabled = false
"""


@pytest.mark.fuzz
@pytest.mark.timeout(120 * TIMES)
def test_links_answer_within_their_schema(
    start_service: StartService, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    service = start_service(workers=2, CPU_LANE_QUEUE=200, API_KEYS="tester:secret")
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG)
    command = [str(Path(sys.executable).with_name("schemathesis")), f"--config-file={config}", "run"]
    options = ["--include-tag=links", f"--max-examples={30 * TIMES}", "--header=Authorization: Bearer secret"]
    options.append(f"--seed={pytestconfig.option.hypothesis_seed}")
    done = subprocess.run(
        [*command, f"{service.url}/openapi.json", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=110 * TIMES,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "6 selected" in done.stdout
