import pytest

from brigade.settings.store_urls import read_postgres_url, read_redis_url


def test_cluster_is_its_hosts_and_its_password() -> None:
    url = read_redis_url("rediss+cluster://user:p%40ss@one,two:7000,[::1]:7001")
    assert (url.kind, url.nodes) == ("cluster", (("one", 6379), ("two", 7000), ("::1", 7001)))
    assert url.options == {"username": "user", "password": "p@ss", "ssl": True}


def test_sentinels_name_a_service_and_may_have_a_password_of_their_own() -> None:
    url = read_redis_url("redis+sentinel://:secret@one,two:7000/links/2?sentinel_password=other")
    assert (url.nodes, url.service, url.sentinel_password) == ((("one", 26379), ("two", 7000)), "links", "other")
    assert url.options == {"username": "", "password": "secret", "ssl": False, "db": 2}


def test_single_server_is_left_to_the_client() -> None:
    assert read_redis_url("redis://:secret@host:6379/0").kind == "server"


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://host:0",
        "redis+cluster://host:99999",
        "redis+cluster://one,",
        "rediss+cluster://host?ssl_cert_reqs=none",
        "redis+cluster://host?sentinel_password=other",
        "redis+sentinel://host/links?socket_timeout=5",
        "redis+cluster://:secret#more@host",
    ],
)
def test_what_would_be_left_out_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|has) ") as refused:
        read_redis_url(url)
    assert "secret" not in str(refused.value)


def test_several_hosts_are_read_and_a_single_one_is_left_to_the_client() -> None:
    assert read_postgres_url("postgresql://u:p,w@one,two:5433/db?target_session_attrs=primary&sslmode=require") == [
        ("one", 5432),
        ("two", 5433),
    ]
    assert read_postgres_url("postgresql:///db?host=/run/postgresql") == []


@pytest.mark.parametrize(
    "url",
    [
        "redis://u:secret@one/db",
        "postgresql://u:secret@one,two/db",
        "postgresql://u:secret@one,two/db?target_session_attrs=any",
        "postgresql://u:secret@one,/db?target_session_attrs=primary",
        "postgresql://u:secret@one,two:0/db?target_session_attrs=primary",
    ],
)
def test_what_may_lead_to_the_wrong_postgres_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|names) ") as refused:
        read_postgres_url(url)
    assert "secret" not in str(refused.value)
