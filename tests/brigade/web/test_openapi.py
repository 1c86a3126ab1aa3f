"""What the schema promises, asked of a running service by somebody who only read the schema."""

import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI
from fastapi.dependencies.utils import get_dependant

from brigade import require_key
from brigade.web.openapi import document
from tests.conftest import StartService
from tests.length import TIMES

EXAMPLES = 20
HIDDEN = "/lab"
"""Ways to hurt a server on purpose; the lab's own tests drive them."""


@pytest.mark.fuzz
@pytest.mark.timeout(120 * TIMES)
def test_no_answer_outside_the_schema_and_no_5xx(
    start_service: StartService, tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """All of schemathesis's checks in all of its phases, under a limit that it meets: 429 is in the schema as well."""
    service = start_service(
        workers=2, CPU_LANE_QUEUE=200, LOG_FORMAT="console", API_KEYS="tester:only-here", RATE_LIMIT="300/minute"
    )
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json"]
    options = [
        f"--max-examples={EXAMPLES * TIMES}",
        f"--seed={pytestconfig.option.hypothesis_seed}",
        "--workers=1",
        "--exclude-path-regex",
        f"^{HIDDEN}",
    ]
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110 * TIMES
    )
    assert done.returncode == 0, done.stdout[-6000:]
    assert "Traceback" not in service.log()


def test_every_operation_is_documented(start_service: StartService) -> None:
    paths = httpx.get(f"{start_service(workers=1).url}/openapi.json").json()["paths"]
    operations = {f"{method} {path}": operation for path, item in paths.items() for method, operation in item.items()}
    assert {"get /livez", "get /readyz", "get /workers"} <= operations.keys()
    assert [name for name, operation in operations.items() if not operation.get("description")] == []
    successes = {name: operation["responses"].get("200", {}) for name, operation in operations.items()}
    assert [name for name, success in successes.items() if success and not success.get("content")] == []


def test_a_route_that_wants_a_key_says_so_and_solves_one_dependency() -> None:
    router = APIRouter()

    @router.get("/locked", dependencies=[Depends(require_key)])
    async def locked() -> None: ...

    @router.get("/open")
    async def is_open() -> None: ...

    app = FastAPI()
    app.include_router(router)
    schema = document(app, app.openapi())
    assert schema["components"]["securitySchemes"].keys() == {"HTTPBearer", "APIKeyHeader"}
    assert schema["paths"]["/locked"]["get"]["security"] == [{"HTTPBearer": []}, {"APIKeyHeader": []}]
    assert "security" not in schema["paths"]["/open"]["get"]
    assert not get_dependant(path="/", call=require_key).dependencies
