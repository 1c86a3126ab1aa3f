import ast
import hashlib
import inspect
import re
import subprocess
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import brigade
from brigade.settings import ConfigurationError
from brigade.settings import load_settings as load
from service.settings import Settings

pytestmark = pytest.mark.usefixtures("bare_environment")

ROOT = Path(__file__).parents[3]


def test_defaults_are_usable() -> None:
    settings = load(Settings)
    assert (settings.host, settings.port, settings.api_keys, settings.lab_enabled) == ("127.0.0.1", 8000, (), False)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "http"),
        ("WEB_CONCURRENCY", "0"),
        ("WEB_CONCURRENCY", "two"),
        ("REPLICAS", "0"),
        ("DATABASE_URL", "mysql://user:secret@host/db"),
        ("DATABASE_READ_URL", "secret@replica"),
        ("MIGRATION_DATABASE_URL", "http://:secret@host"),
        ("REDIS_URL", "http://:secret@host"),
        ("REDIS_URL", "redis+cluster://:secret@one:6379;two:6379"),
        ("REDIS_URL", "redis+cluster://:secret@one,two/1"),
        ("REDIS_URL", "redis+sentinel://:secret@one,two"),
        ("REDIS_URL", "redis+sentinel://:secret@one:port/links"),
        ("DB_CONNECTION_BUDGET", "-1"),
        ("CPU_LANE_THREADS", "0"),
        ("CPU_LANE_QUEUE", "-1"),
        ("CPU_LANE_PROCESSES", "perhaps"),
        ("WORKER_MEMORY_MB", "1"),
        ("REQUEST_TIMEOUT_S", "0"),
        ("REQUEST_TIMEOUT_S", "29"),
        ("REQUEST_TIMEOUT_S", "nan"),
        ("GRACEFUL_TIMEOUT_S", "16"),
        ("GRACEFUL_TIMEOUT_S", "0.5"),
        ("KEEPALIVE_S", "inf"),
        ("GRACEFUL_TIMEOUT_S", "1e20"),
        ("STOP_DELAY_S", "1e7"),
        ("REQUEST_TIMEOUT_S", "1e-9"),
        ("MAX_BODY_BYTES", "1MB"),
        ("API_KEYS", "writer:sha256:secret"),
        ("API_KEYS", "secret:"),
        ("API_KEYS", ":secret"),
        ("API_KEYS", "a team:secret"),
        ("API_KEYS", "team:sécret"),
        ("API_KEYS", "team:two secrets"),
        ("API_KEYS", " , "),
        ("API_KEYS", f"nobody:sha256:{hashlib.sha256().hexdigest()}"),
        ("RATE_LIMIT", "60"),
        ("RATE_LIMIT", "0/minute"),
        ("RATE_LIMIT", "60 / minute"),
        ("RATE_LIMIT", "60/fortnight"),
        ("RATE_LIMIT", "100001/second"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1/8"),
        ("PUBLIC_URL", "example.com"),
        ("PUBLIC_URL", "https://example.com/?a=b"),
        ("PUBLIC_URL", "https://example.com/go#part"),
        ("PUBLIC_URL", "https://user:secret@example.com/"),
        ("FORWARDED_ALLOW_IPS", "127.0.0.1,proxy"),
        ("FORWARDED_ALLOW_IPS", "127.0.0.1,*"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("OPS_PORT", "8000"),
        ("OPS_PUBLIC", "false"),
        ("STATE_DIR", "~/state"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("ACCESS_LOG_SAMPLE", "2"),
    ],
)
def test_value_that_cannot_be_used_is_refused_in_one_sentence_naming_the_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError) as refusal:
        load(Settings)
    message = str(refusal.value)
    assert variable in message
    assert "\n" not in message
    assert message.endswith(".")
    assert "secret" not in message


@pytest.mark.parametrize("variable", ["LOG_LEVEL", "PUBLIC_URL", "WEB_CONCURRENCY"])
def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "")
    assert getattr(load(Settings), variable.lower()) == Settings.model_fields[variable.lower()].default


def test_trusted_proxies_also_have_the_name_that_gunicorn_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "10.0.0.0/8")
    assert load(Settings).trusted_proxies == "10.0.0.0/8"
    monkeypatch.setenv("TRUSTED_PROXIES", "192.0.2.7")
    assert load(Settings).trusted_proxies == "192.0.2.7"


@pytest.mark.parametrize("password", ["s3/cr#t%41", "a%41b", "p@:?\"'\\ $w[ö]"])
@pytest.mark.parametrize("variable", ["DATABASE_URL", "DATABASE_READ_URL", "MIGRATION_DATABASE_URL"])
def test_database_password_of_any_characters_completes_each_url(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, password: str
) -> None:
    (tmp_path / "password").write_text(f"{password}\n")
    monkeypatch.setenv("DATABASE_PASSWORD_FILE", str(tmp_path / "password"))
    monkeypatch.setenv(variable, "postgresql://brigade@postgres:5432/brigade")
    url = getattr(load(Settings), variable.lower()).get_secret_value()
    parts = urlsplit(url)
    assert (parts.username, unquote(parts.password or ""), parts.port) == ("brigade", password, 5432)


OWN = ["postgresql://brigade:own@postgres/brigade", "postgresql://postgres/brigade?user=brigade&password=own"]


@pytest.mark.parametrize("url", [*OWN, "postgresql://postgres/brigade"])
def test_database_password_changes_no_url_that_has_one_or_names_nobody(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DATABASE_PASSWORD", "secret")
    monkeypatch.setenv("DATABASE_URL", url)
    found = load(Settings).database_url
    assert found is not None
    assert found.get_secret_value() == url


def test_file_variable_is_read_and_its_last_newline_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = tmp_path / "database_url"
    secret.write_text("postgresql://user:secret@host/db\n")
    monkeypatch.setenv("DATABASE_URL_FILE", str(secret))
    url = load(Settings).database_url
    assert url is not None
    assert url.get_secret_value() == "postgresql://user:secret@host/db"
    assert "user:secret" not in repr(load(Settings))


def test_variable_wins_over_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "level").write_text("debug")
    monkeypatch.setenv("LOG_LEVEL_FILE", str(tmp_path / "level"))
    assert load(Settings).log_level == "debug"
    monkeypatch.setenv("LOG_LEVEL", "error")
    assert load(Settings).log_level == "error"


def test_dotenv_is_read_and_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=debug\nPORT=9000\nUNKNOWN=1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "9001")
    assert (load(Settings).log_level, load(Settings).port) == ("debug", 9001)


def test_file_variable_in_dotenv_is_read_as_in_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Keys whose file was ignored would let everybody write."""
    (tmp_path / "keys").write_text("team:secret")
    (tmp_path / "other").write_text("other:secret")
    (tmp_path / ".env").write_text(f"LOG_LEVEL=error\nAPI_KEYS_FILE={tmp_path / 'keys'}\n")
    monkeypatch.chdir(tmp_path)
    assert [key.id for key in load(Settings).api_keys] == ["team"]
    monkeypatch.setenv("API_KEYS_FILE", str(tmp_path / "other"))
    assert [key.id for key in load(Settings).api_keys] == ["other"]
    monkeypatch.setenv("API_KEYS", "third:secret")
    assert [key.id for key in load(Settings).api_keys] == ["third"]
    monkeypatch.delenv("API_KEYS")
    monkeypatch.delenv("API_KEYS_FILE")
    (tmp_path / ".env").write_text(f"API_KEYS=fourth:secret\nAPI_KEYS_FILE={tmp_path / 'keys'}\n")
    assert [key.id for key in load(Settings).api_keys] == ["fourth"]
    (tmp_path / ".env").write_text("API_KEYS_FILE=/nowhere\n")
    with pytest.raises(ConfigurationError, match="API_KEYS_FILE names "):
        load(Settings)


@pytest.mark.parametrize(
    ("changed", "value", "named"),
    [
        ("API_KEYS", "", "API_KEYS"),
        ("DATABASE_URL", "postgresql://brigade:brigade@postgres/brigade", "DATABASE_URL"),
        ("DATABASE_URL", "postgresql://brigade@postgres/brigade", "DATABASE_URL"),
        ("DATABASE_URL", "postgresql://brigade@one,two/brigade?target_session_attrs=primary", "DATABASE_URL"),
        ("DATABASE_URL", "postgresql:///brigade?host=/run&user=brigade&password=brigade", "DATABASE_URL"),
        ("REDIS_URL", "redis://redis:6379/0", "REDIS_URL"),
    ],
)
def test_required_secrets_are_neither_missing_nor_guessable(
    monkeypatch: pytest.MonkeyPatch, changed: str, value: str, named: str
) -> None:
    monkeypatch.setenv("API_KEYS", "writer:something")
    monkeypatch.setenv("DATABASE_URL", "postgresql://brigade:something@postgres/brigade")
    monkeypatch.setenv("REDIS_URL", "redis://:something@redis:6379/0")
    monkeypatch.setenv("REQUIRE_SECRETS", "true")
    assert load(Settings).require_secrets
    monkeypatch.setenv("DATABASE_URL", "postgresql:///brigade?host=/run&user=brigade&password=something")
    assert load(Settings).require_secrets
    monkeypatch.setenv(changed, value)
    with pytest.raises(ConfigurationError, match=f"^{named} ") as refusal:
        load(Settings)
    assert "something" not in str(refusal.value)
    monkeypatch.setenv("REQUIRE_SECRETS", "false")
    load(Settings)


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff\xfe"])
def test_file_that_holds_no_value_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    """An empty file of keys, taken for no keys, would let everybody write."""
    if content is not None:
        (tmp_path / "keys").write_bytes(content)
    monkeypatch.setenv("API_KEYS_FILE", str(tmp_path / "keys"))
    with pytest.raises(ConfigurationError, match="API_KEYS_FILE names "):
        load(Settings)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("valkey://valkey:6379/0", "redis://valkey:6379/0"),
        ("valkeys://cache/1", "rediss://cache/1"),
        ("redis://valkey:6379", "redis://valkey:6379"),
    ],
)
def test_redis_url_keeps_its_host(monkeypatch: pytest.MonkeyPatch, given: str, used: str) -> None:
    monkeypatch.setenv("REDIS_URL", given)
    url = load(Settings).redis_url
    assert url is not None
    assert url.get_secret_value() == used


def test_api_keys_are_kept_as_digests(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"  # of "secret"
    monkeypatch.setenv("API_KEYS", f"secret, writer:secret,reader:sha256:{digest},sha256:{digest}")
    keys = load(Settings).api_keys
    assert [key.id for key in keys] == [digest[:8], "writer", "reader", digest[:8]]
    assert {key.digest.hex() for key in keys} == {digest}
    assert "secret" not in repr(keys)


def test_key_may_hold_colons_of_which_none_becomes_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", "team:se:cr:et")
    (key,) = load(Settings).api_keys
    assert (key.id, key.digest) == ("team", hashlib.sha256(b"se:cr:et").digest())


def test_key_made_as_the_docs_say_can_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs" / "security.md").read_text(), re.M | re.S)
    said = subprocess.run(
        ["sh", "-ec", "".join(commands) + 'echo "$KEY"'], capture_output=True, text=True, check=True
    ).stdout.split()
    digest, key = said[0], said[-1]
    monkeypatch.setenv("API_KEYS", f"old:secret,new:sha256:{digest}")
    assert load(Settings).api_keys[1].digest == hashlib.sha256(key.encode()).digest()
    assert len(key) > 40


def _shown(default: object) -> str:
    match default:
        case None | ():
            return ""
        case bool():
            return str(default).lower()
        case float():
            return f"{default:g}"
        case _:
            return str(default)


def _sentences(kind: type) -> dict[str, str]:
    """Return what stands under each field. The service does not keep it, because to read its own source delays each start."""
    (definition,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(definition, ast.ClassDef)
    return {
        field.target.id: inspect.cleandoc(below.value.value)
        for field, below in pairwise(definition.body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str)
    }


def test_example_lists_every_variable_with_its_sentence_and_its_default() -> None:
    text = (ROOT / ".env.example").read_text()
    listed = {
        name: (sentence, value) for sentence, name, value in re.findall(r"^# (.+)\n# ([A-Z_]+)=(.*)$", text, re.M)
    }
    own = {name: entry for name, entry in listed.items() if not name.startswith("OTEL_")}
    sentences = _sentences(brigade.Settings) | _sentences(Settings)
    assert own == {
        name.upper(): (sentences[name], _shown(field.default)) for name, field in Settings.model_fields.items()
    }


def test_page_of_settings_lists_every_variable() -> None:
    listed = re.findall(r"^\| `([A-Z_]+)` ", (ROOT / "docs" / "settings.md").read_text(), re.M)
    own = [name for name in listed if not name.startswith("OTEL_")]
    assert own == [name.upper() for name in Settings.model_fields]
