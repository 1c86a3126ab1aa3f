import pytest

from brigade.settings.redis_url import read_redis_url


def test_cluster_is_its_hosts_its_password_and_its_certificates() -> None:
    url = read_redis_url(
        "rediss+cluster://user:p%40ss@one,two:7000,[::1]:7001?ssl_ca_certs=/ca.pem&ssl_check_hostname=no"
    )
    assert (url.kind, url.nodes) == ("cluster", (("one", 6379), ("two", 7000), ("::1", 7001)))
    tls = {"ssl": True, "ssl_ca_certs": "/ca.pem", "ssl_check_hostname": False}
    assert url.options == {"username": "user", "password": "p@ss"} | tls


def test_sentinels_name_a_service_and_may_have_a_password_of_their_own() -> None:
    url = read_redis_url("redis+sentinel://:secret@one,two:7000/links/2?sentinel_password=other")
    assert (url.nodes, url.service) == ((("one", 26379), ("two", 7000)), "links")
    assert url.sentinel_options == {"password": "other"}
    assert url.options == {"username": "", "password": "secret", "ssl": False, "db": 2}


def test_sentinels_of_servers_with_tls_have_it_too_unless_the_url_says_otherwise() -> None:
    assert read_redis_url("rediss+sentinel://one/links").sentinel_options["ssl"] is True
    assert read_redis_url("rediss+sentinel://one/links?sentinel_tls=false").sentinel_options == {"password": None}


@pytest.mark.parametrize(
    ("url", "node"),
    [
        ("redis://:secret@host:6379/0", ("host", 6379)),
        ("rediss://default:secret@name.upstash.io:6379", ("name.upstash.io", 6379)),
        ("rediss://:secret@ec2-1-2-3-4.compute-1.amazonaws.com:6380?ssl_cert_reqs=none", None),
        ("rediss://master.name.abc.euc1.cache.amazonaws.com:6379/0?protocol=3", None),
        ("redis://[::1]:7000/2", ("::1", 7000)),
        ("redis://", ("localhost", 6379)),
        ("valkey://:p%40%2F%25w@host", ("host", 6379)),
    ],
)
def test_single_server_is_read(url: str, node: tuple[str, int] | None) -> None:
    read = read_redis_url(url)
    assert read.kind == "server"
    assert node in (None, read.nodes[0])


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("family=0", "family"),
        ("tls=true", "tls"),
        ("ssl=true", "ssl"),
        ("decode_responses=true", "decode_responses"),
        ("poolSize=10", "poolSize"),
        ("socket_timeout=60", "socket_timeout"),
        ("max_connections=1", "max_connections"),
        ("username=secret", "username"),
        ("ssl_cert_reqs=none", "TLS"),
        ("db=one", "db"),
        ("protocol=4", "protocol"),
        ("db=", "db"),
    ],
)
@pytest.mark.parametrize("scheme", ["redis://host:6379/0", "redis+cluster://host:6379", "redis+sentinel://host/links"])
def test_option_that_would_change_the_client_is_refused_by_its_name(scheme: str, option: str, named: str) -> None:
    with pytest.raises(ValueError, match=named) as refused:
        read_redis_url(f"{scheme}?{option}")
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://host:0",
        "redis+cluster://host:99999",
        "redis+cluster://one,",
        "rediss+cluster://host?ssl_cert_reqs=perhaps",
        "rediss://host?ssl_check_hostname=perhaps",
        "redis+cluster://host?sentinel_password=other",
        "redis+sentinel://host/links?socket_timeout=5",
        "redis+cluster://:secret#more@host",
        "redis://:secret@host/secret",
        "redis://:secret@host:secret/0",
        "redis://:secret?secret@host/0",
        "redis://:secret/secret@host/0",
        "redis://:secret[secret@host/0",
        "unix://",
        "redis://:secret@one..example/0",
        "redis+cluster://:secret@.example",
        "unix://:secret@run/redis.sock",
    ],
)
def test_what_would_be_left_out_or_misread_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"^(must|has|cannot) ") as refused:
        read_redis_url(url)
    assert "secret" not in str(refused.value)
