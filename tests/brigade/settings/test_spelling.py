"""Values as editors, shells and other tools leave them: trimmed where that is safe, and otherwise refused in a sentence."""

from pathlib import Path

import pytest

from brigade.settings import ConfigurationError
from brigade.settings import load_settings as load
from local import variables
from local.process import LocalError
from service.settings import Settings

pytestmark = pytest.mark.usefixtures("bare_environment")


MARK = b"\xef\xbb\xbf"
URL = "postgresql://u@host/db"


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "LOG_LEVEL=debug\n".encode("utf-16"),
        "# Grüße\nLOG_LEVEL=debug\n".encode("latin-1"),
        b'API_KEYS="team:secret\n',
        b"LOG_LEVEL=debug\nAPI_KEYS: team:secret\n",
        b"API_KEYS=team:secret${nowhere}\n",
        b"API_KEYS='team:secret${later}'\nlater=1\n",
    ],
)
def test_dotenv_that_would_lose_a_line_is_refused(content: bytes) -> None:
    """The line may be the one with the keys, and without keys everybody may write."""
    Path(".env").write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"^\.env .*\.$") as refused:
        load(Settings)
    assert "secret" not in str(refused.value)


def test_dotenv_is_read_as_people_write_it() -> None:
    Path(".env").write_bytes(MARK + b'export LOG_LEVEL=debug\r\n\r\nHOST="0.0.0.0" # all\r\nPORT=1\nPORT=9000')
    settings = load(Settings)
    assert (settings.log_level, settings.host, settings.port) == ("debug", "0.0.0.0", 9000)


def test_dotenv_may_name_what_stands_before_or_has_a_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("from_shell", "name")
    Path(".env").write_text("HOME_OF=shop\nDEPLOYMENT=${HOME_OF}-${from_shell}-${none:-$1}\n")
    assert load(Settings).deployment == "shop-name-$1"


def test_dotenv_that_is_no_text_ends_a_local_run_in_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_bytes("PORT=9000\n".encode("utf-16"))
    monkeypatch.setattr(variables, "ROOT", Path.cwd())
    with pytest.raises(LocalError, match=r"^\.env cannot be read: .*\.$"):
        variables.address()


def test_local_run_hears_a_variable_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or it would start a Postgres beside the one that the service is to use."""
    Path(".env").write_text("redis_url=redis://host\nPort= \n")
    monkeypatch.setattr(variables, "ROOT", Path.cwd())
    monkeypatch.setenv("database_url_file", "/run/url")
    assert variables.is_set("DATABASE_URL")
    assert variables.is_set("REDIS_URL")
    assert not variables.is_set("PORT")


@pytest.mark.parametrize("around", ["{}\r", " {} ", "{}\n", "\t{}\r\n"])
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", "postgresql://u:p@host/db"),
        ("REDIS_URL", "redis://host:6379"),
        ("HOST", "0.0.0.0"),
        ("LAB_ENABLED", "true"),
        ("LOG_LEVEL", "debug"),
        ("RATE_LIMIT", "300/minute"),
        ("TRUSTED_PROXIES", "*"),
    ],
)
def test_what_is_around_a_value_is_no_part_of_it(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, around: str
) -> None:
    """`docker run --env-file` keeps the carriage return of a file from Windows."""
    monkeypatch.setenv(variable, value)
    plain = getattr(load(Settings), variable.lower())
    monkeypatch.setenv(variable, around.format(value))
    assert getattr(load(Settings), variable.lower()) == plain


@pytest.mark.parametrize("variable", ["HOST", "API_KEYS"])
def test_blanks_alone_do_not_become_an_empty_value(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    """An empty host is every address, and no key is everybody."""
    monkeypatch.setenv(variable, "  ")
    try:
        assert load(Settings).host == "  "  # no address: refused when it is bound
    except ConfigurationError as refused:
        assert variable in str(refused)  # noqa: PT017 - one of the two is refused here


@pytest.mark.parametrize("variable", ["API_KEYS_FILE", "api_keys_file"])
def test_name_of_a_file_is_heard_in_any_case(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    (tmp_path / "keys").write_text("team:secret")
    monkeypatch.setenv(variable, str(tmp_path / "keys"))
    assert [key.id for key in load(Settings).api_keys] == ["team"]


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (MARK + b"secret\r\n", "secret"),
        (b" two words \n", "%20two%20words%20"),
        ("s€cret\n".encode(), "s%E2%82%ACcret"),
    ],
)
def test_password_in_a_file_loses_its_line_end_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes, password: str
) -> None:
    """The image of Postgres reads the same file so."""
    (tmp_path / "password").write_bytes(content)
    monkeypatch.setenv("DATABASE_URL", URL)
    monkeypatch.setenv("DATABASE_PASSWORD_FILE", str(tmp_path / "password"))
    url = load(Settings).database_url
    assert url is not None
    assert url.get_secret_value() == f"postgresql://u:{password}@host/db"
