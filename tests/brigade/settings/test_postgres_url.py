from pathlib import Path

import pytest

from brigade.settings.postgres_url import read_postgres_url, with_password

NEON = "postgresql://app:secret@ep-name-pooler.eu-central-1.aws.neon.tech/db?sslmode=require&channel_binding=require"


@pytest.mark.parametrize(
    ("url", "hosts", "database"),
    [
        (NEON, [("ep-name-pooler.eu-central-1.aws.neon.tech", 5432)], "db"),
        ("postgres://u:p@ec2-1-2-3-4.compute-1.amazonaws.com:5432/d8?sslmode=require", None, "d8"),
        ("postgresql://postgres.ref:p@aws-0-eu.pooler.supabase.com:6543/postgres?pgbouncer=true", None, "postgres"),
        ("postgresql://app:p@name.rds.amazonaws.com/db?sslmode=verify-full&sslrootcert=/etc/rds.pem", None, "db"),
        (
            "postgresql://app@/db?host=/cloudsql/project:region:instance",
            [("/cloudsql/project:region:instance", 5432)],
            "db",
        ),
        (
            "postgresql://app@%2Fcloudsql%2Fproject%3Aregion%3Ainstance/db",
            [("/cloudsql/project:region:instance", 5432)],
            "db",
        ),
        ("postgresql://app@%2Ftmp%2Fa%3Ab:5433/db", [("/tmp/a:b", 5433)], "db"),
        ("postgresql://app@%2Ftmp%2Fpg/db?port=5433", [("/tmp/pg", 5433)], "db"),
        ("postgresql://app:p@[::1]:5433/db", [("::1", 5433)], "db"),
        ("postgresql://app:p@[2001:db8::1]/db", [("2001:db8::1", 5432)], "db"),
        ("postgresql://app:@host/db", [("host", 5432)], "db"),
        ("postgresql://app:p@host:/db", [("host", 5432)], "db"),
        ("postgresql://us%40er:p%25%40%2F%23%3A%20w@host", [("host", 5432)], "us@er"),
        ("postgresql://host?dbname=db", [("host", 5432)], "db"),
        ("postgresql:///db", [], "db"),
        ("postgresql://?service=mine", [], ""),
        (
            "postgresql://u:p,w@one,two:5433/db?target_session_attrs=primary",
            [("one", 5432), ("two", 5433)],
            "db",
        ),
    ],
)
def test_url_of_a_provider_is_read(url: str, hosts: list[tuple[str, int]] | None, database: str) -> None:
    read = read_postgres_url(url)
    assert hosts is None or read.hosts == hosts
    assert read.database == database


IGNORED = "channel_binding=require&connect_timeout=10&keepalives=1&keepalives_idle=30&keepalives_interval=5&keepalives_count=3"
IGNORED += "&tcp_user_timeout=9&gssencmode=prefer&sslcompression=0&sslsni=1&client_encoding=UTF8&application_name=me"
IGNORED += "&fallback_application_name=me&load_balance_hosts=disable&requiressl=0"
HONOURED = "sslmode=verify-full&sslrootcert=/ca&sslcert=/c&sslkey=/k&passfile=/p&service=s&options=-c%20geqo%3Doff"
HONOURED += "&target_session_attrs=any&sslnegotiation=direct&ssl_min_protocol_version=TLSv1.3&search_path=app"


def test_parameters_of_libpq_are_handed_on_or_left_out_knowingly() -> None:
    read = read_postgres_url(f"postgresql://u:p@host/db?{IGNORED}&{HONOURED}")
    assert read.dsn == f"postgresql://u:p@host/db?{HONOURED}"
    assert read.files == {"sslrootcert": "/ca", "sslcert": "/c", "sslkey": "/k", "passfile": "/p"}
    assert read.asks_for_channel_binding


@pytest.mark.parametrize(
    "value",
    [
        "hostaddr=1.2.3.4",
        "gssencmode=require",
        "require_auth=none",
        "client_encoding=latin1",
        "ssl=require",
        "ssl=true&sslmode=require",
        "sslmode=no-verify",
        "target_session_attrs=master",
    ],
)
def test_parameter_that_cannot_be_honoured_is_refused_by_its_name(value: str) -> None:
    with pytest.raises(ValueError, match=value.partition("=")[0]):
        read_postgres_url(f"postgresql://u:secret@host/db?{value}")


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:secret@one/db",
        "postgresql://u:secret@one,two/db",
        "postgresql://u:secret@one,two/db?target_session_attrs=any",
        "postgresql://u:secret@one,/db?target_session_attrs=primary",
        "postgresql://u:secret@one,two:0/db?target_session_attrs=primary",
        "postgresql://u:secret@one:port/db",
        "postgresql://u:secret@one:99999/db",
        "postgresql://u:secret/secret@one/db",
        "postgresql://u:secret@secret@one/db",
        "postgresql://u:secret%zz@one/db",
        "postgresql://u:secret@[::1/db",
        "postgresql://u:secret@one/db?sslmode=require&sslrootcert=system",
        "postgresql://u:secret@one two/db",
        "postgresql://u:secret@one..example/db",
        f"postgresql://u:secret@{'a' * 64}.example/db",
    ],
)
def test_what_may_lead_to_the_wrong_postgres_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|names|cannot|has) ") as refused:
        read_postgres_url(url)
    assert "secret" not in str(refused.value)


def test_certificates_of_the_system_are_a_file() -> None:
    try:
        read = read_postgres_url("postgresql://u:p@host/db?sslmode=verify-full&sslrootcert=system")
    except ValueError as refused:
        assert "ca-certificates" in str(refused)  # noqa: PT017 - a machine without any
    else:
        assert Path(read.files["sslrootcert"]).is_file()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://app@host/db",
        "postgresql://app:@host/db",
        "postgresql://host/db?user=app",
        "postgresql:///db?host=/cloudsql/project:region:instance&user=app&password=",
    ],
)
def test_password_completes_a_url_that_has_none(url: str) -> None:
    password = "p%@/#:+ w"
    read = read_postgres_url(with_password(url, password))
    assert (read.username, read.password, read.database) == ("app", password, "db")


def test_digest_is_of_the_place_and_not_of_who_comes() -> None:
    digests = {
        read_postgres_url(f"postgresql://{user}@{hosts}/db?target_session_attrs=primary").digest
        for user in ("one:p", "two")
        for hosts in ("a,b:5433", "b:5433,a:5432")
    }
    assert len(digests) == 1
    assert read_postgres_url("postgresql://a/other").digest not in digests
