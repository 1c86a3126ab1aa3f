import pytest

from service.redis_url import parse


def test_cluster_is_its_hosts_and_its_password() -> None:
    url = parse("rediss+cluster://user:p%40ss@one,two:7000,[::1]:7001")
    assert (url.kind, url.nodes) == ("cluster", (("one", 6379), ("two", 7000), ("::1", 7001)))
    assert url.options == {"username": "user", "password": "p@ss", "ssl": True}


def test_sentinels_name_a_service_and_may_have_a_password_of_their_own() -> None:
    url = parse("redis+sentinel://:secret@one,two:7000/links/2?sentinel_password=other")
    assert (url.nodes, url.service, url.sentinel_password) == ((("one", 26379), ("two", 7000)), "links", "other")
    assert url.options == {"username": "", "password": "secret", "ssl": False, "db": 2}


def test_single_server_is_left_to_the_client() -> None:
    assert parse("redis://:secret@host:6379/0").kind == "server"


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
        parse(url)
    assert "secret" not in str(refused.value)
