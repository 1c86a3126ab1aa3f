"""Secrets are put in everywhere, things are made to fail, and whatever came out is searched for them."""

import os
import re
import signal
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from brigade.cli import main
from local.process import free_port
from local.servers import Postgres, Valkey
from service.settings import Settings
from tests.brigade.cli.conftest import query
from tests.brigade.ops.test_ops import eventually
from tests.conftest import ROOT, StartService

KEY, WRONG_KEY, NEW_KEY, TOKEN = (
    "canary-key-of-the-team",
    "canary-wrong-key",
    "canary-key-to-come",
    "canary-token-of-otel",
)
KEYS = f"team:{KEY},{NEW_KEY}"


def password_of(url: str) -> str:
    return urlsplit(url).password or ""


def command_of(pid: int) -> str:
    with suppress(psutil.NoSuchProcess):  # a worker that has ended meanwhile
        return repr(psutil.Process(pid).cmdline())
    return ""


@pytest.mark.drives("links", "lab")
def test_a_service_that_fails_in_every_way_says_no_secret(
    start_service: StartService, database_url: str, postgres: Postgres, valkey: Valkey, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(KEYS)
    service = start_service(
        workers=2,
        LOG_LEVEL="debug",
        API_KEYS_FILE=tmp_path / "keys",
        ACCESS_LOG_SAMPLE=0,
        WORKER_TIMEOUT_S=2,
        OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9",
        OTEL_EXPORTER_OTLP_HEADERS=f"authorization={TOKEN}",
        OTEL_EXPORTER_OTLP_TRACES_HEADERS=f"Authorization: Bearer {TOKEN}",
    )
    said: list[str] = []

    def ask(method: str, path: str, key: str = "", **options: object) -> int:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        answer = httpx.request(method, f"{service.url}{path}", headers=headers, timeout=20, **options)  # type: ignore[arg-type]
        said.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return answer.status_code

    assert ask("POST", "/links", KEY, json={"url": "https://example.com/", "code": "known"}) == 201
    assert ask("GET", f"/links?api_key={WRONG_KEY}", WRONG_KEY) == 401
    assert ask("DELETE", "/links/none", NEW_KEY) == 404
    assert ask("POST", "/links", KEY, json={"url": f"https://user:{WRONG_KEY}@example.com/"}) == 422
    for path in ("/workers", "/docs", "/openapi.json", "/metrics", "/readyz", "/lab", "/r/known", "/nowhere"):
        ask("GET", path)
    query(database_url, "ALTER TABLE links RENAME TO elsewhere")
    assert ask("POST", "/links", KEY, json={"url": "https://example.com/"}) == 500
    valkey.stop()
    postgres.stop()
    for _ in range(8):
        ask("GET", "/links", KEY)
    ask("GET", "/readyz")
    os.kill(service.worker_pids()[0], signal.SIGABRT)
    ask("GET", "/lab/sleep/blocking?ms=10")
    os.kill(service.pid, signal.SIGHUP)
    eventually(lambda: "Traceback" in service.log() and "is left alone" in service.log())
    commands = " ".join(map(command_of, [service.pid, *service.worker_pids()]))
    valkey.start()
    postgres.start()
    service.stop()
    log = service.log()
    assert "Fatal Python error" in log
    assert "UndefinedTableError" in log
    # Which key it was is in the log, also where the access log is thinned out.
    written = re.findall(r'"status": ?(\d+).*?"key": ?"([^"]*)"', log)
    unnamed = [key for _, key in written if key != "team"]
    assert {("201", "team"), ("500", "team")} <= set(written)
    assert len(set(unnamed)) == 1
    assert re.fullmatch("[0-9a-f]{8}", unnamed[0])
    for secret in (KEY, NEW_KEY, WRONG_KEY, TOKEN, password_of(database_url), password_of(valkey.url)):
        assert secret
        for where, text in {"log": log, "answers": "\n".join(said), "process list": commands}.items():
            assert secret not in text, f"{secret} is in the {where}"


CANARY = "canary"
FAILING: list[dict[str, str]] = [
    {"DATABASE_URL": f"postgresql://user:{CANARY}@127.0.0.1:9/db"},
    {"DATABASE_URL": f"postgresql://user:{CANARY}%zz@[::1/db"},
    {"DATABASE_URL": f"postgresql://user:{CANARY}@host:port/db"},
    {"DATABASE_URL": f"mysql://user:{CANARY}@host/db"},
    {"DATABASE_URL": f"{CANARY}"},
    {"REDIS_URL": f"redis://:{CANARY}@127.0.0.1:9/0"},
    {"REDIS_URL": f"redis://:{CANARY}@127.0.0.1:port/0"},
    {"REDIS_URL": f"redis://:{CANARY}@[::1/0"},
    {"REDIS_URL": f"redis://:{CANARY}@127.0.0.1/{CANARY}"},
    {"REDIS_URL": f"http://:{CANARY}@host"},
    {"API_KEYS": f"a team:{CANARY}"},
    {"API_KEYS": f"team:sha256:{CANARY}"},
    {"API_KEYS": f"team:{CANARY}", "PORT": "none"},
    {"API_KEYS": f"team:{CANARY}", "REQUIRE_SECRETS": "true"},
    {"API_KEYS": f"team:{CANARY}", "OPS_PUBLIC": "false"},
]


@pytest.mark.usefixtures("bare_environment")
@pytest.mark.parametrize("variables", FAILING, ids="-".join)
def test_a_command_that_fails_says_no_secret(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In this process: what is a command of its own is in tests/brigade/cli."""
    features = ROOT / "service" / "features"
    for name, value in ({"PORT": str(free_port())} | variables).items():
        monkeypatch.setenv(name, value)
    for arguments in (["doctor"], ["doctor", "--json"], ["sizing", "--json"], ["migrate"], ["run"]):
        if "127.0.0.1:9" in str(variables) and arguments in (["migrate"], ["run"]):
            continue  # it waits for its server
        main("service.main:create_app", settings=Settings, features=features, arguments=arguments)
        shown = "".join(capfd.readouterr())
        assert shown
        assert CANARY not in shown
        assert "Traceback" not in shown
