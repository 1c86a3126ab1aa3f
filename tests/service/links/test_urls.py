import re
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.features.links.urls import check_url, leads_under, to_location

AS_SENT = [
    "http://example.com",
    "https://example.com/",
    "HTTPS://EXAMPLE.com/Path",
    "http://example.com:8080",
    "http://example.com:/empty-port",
    "http://example.com./dot",
    "http://under_score.example.com/",
    "http://localhost/x",
    "http://127.0.0.1:1/x",
    "http://[2001:db8::1]:8080/x",
    "http://example.com?query-only",
    "http://example.com#fragment-only",
    "http://example.com/a%20b%2Fc%zz",
    "http://example.com/~user/(x);y=1,2!*'&$@:",
    "http://example.com/?q=a+b&u=http://other.example/?x=1",
    'http://example.com/"<>^`{|}',
    "http://example.com//double//slash/../dots/./",
    "http://xn--bcher-kva.example/",
]
REWRITTEN = {
    "http://bücher.example/": b"http://xn--bcher-kva.example/",
    "http://h/ü": b"http://h/%C3%BC",  # the host is also a part of what stands before it
    "http://BÜCHER.example:81/": b"http://xn--bcher-kva.example:81/",
    "https://example.com/käse?ö=ü#ß": b"https://example.com/k%C3%A4se?%C3%B6=%C3%BC#%C3%9F",
    "https://例え.テスト/引き割り/%E3%81": b"https://xn--r8jz45g.xn--zckzah/%E5%BC%95%E3%81%8D%E5%89%B2%E3%82%8A/%E3%81",
}
REFUSED = [
    *("", "example.com", "//example.com/", "/path", "http://", "http:///path", "http:example.com", "http:/example.com"),
    *("ftp://example.com/", "javascript:alert(1)", "data:text/html,x", "mailto:a@example.com", "file:///etc/passwd"),
    *("http://user@example.com/", "http://user:secret@example.com/", "http://@example.com/", "http://a@b@c/"),
    *(
        "http://exa mple.com/",
        " http://example.com",
        "http://example.com\n",
        "http://example.com/\r\nX: y",
        "http://e\t.com",
    ),
    *(
        "http://example.com\\@other.example/",
        "http://example.com/\u202e",
        "http://example.com/\x00",
        "http://example.com/\x7f",
    ),
    *("http://example.com:99999/", "http://example.com:-1/", "http://example.com:x/", "http://example.com:80:80/"),
    *("http://-a.example/", "http://a-.example/", "http://.example/", "http://a..example/", "http://%41.example/"),
    *("http://[::1/", "http://[::g]/", "http://::1/", "http://1.2.3.4.5/", "http://256.1.1.1/", "http://a.1/"),
    *("http://0x7f000001/", "http://0x7f.0.0.1/", "http://127.0.0.0x1/", "http://0X7F.1./", "http://a.0x/"),
    *("http://2130706433/", "http://127.1/", "http://0177.0.0.1/", "http://127.0.0.01/", "http://[::1%25lo]/"),
    *("javascript://example.com/%0aalert(1)", "view-source:http://example.com/", "http+unix://socket/"),
    *("http://example.com;@b/", "http://example.com%2f@b/", "http://ex\xadample.com/", "http://exam\u200dple.com/"),
    *(
        f"http://{'a' * 64}.example/",
        f"http://{'a.' * 127}ab/",
        "http://xn--a/",
        "http://☃.example/",
        "http://\ud800.example/",
    ),
    *("http://a.example\u2100/", "http://ü\u0300-.example/"),
]


@pytest.mark.parametrize("url", AS_SENT)
def test_an_ascii_url_leads_to_exactly_what_was_sent(url: str) -> None:
    assert to_location(check_url(url)) == url.encode()


@pytest.mark.parametrize("url", REWRITTEN)
def test_another_url_is_written_in_ascii(url: str) -> None:
    assert to_location(check_url(url)) == REWRITTEN[url]


@pytest.mark.parametrize("url", REFUSED)
def test_what_clients_could_read_differently_is_refused(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any reason will do
        check_url(url)


@pytest.mark.parametrize(("length", "valid"), [(2048, True), (2049, False)])
def test_a_url_has_a_longest_length(length: int, valid: bool) -> None:
    url = "http://example.com/".ljust(length, "x")
    if valid:
        assert check_url(url) == url
    else:
        with pytest.raises(ValueError, match="2048"):
            check_url(url)


def test_the_length_is_that_of_the_location() -> None:
    with pytest.raises(ValueError, match="2048"):
        check_url("http://example.com/" + "ü" * 400)


@settings(deadline=None)
@given(st.text(max_size=60).map(lambda rest: f"http://example.com/{rest}"))
def test_any_accepted_path_makes_a_header_of_the_same_meaning(url: str) -> None:
    try:
        location = to_location(check_url(url))
    except ValueError:
        return
    assert re.fullmatch(rb"[\x21-\x7e]+", location)
    assert urlsplit(location.decode()).netloc == "example.com"
    assert to_location(check_url(location.decode())) == location


@settings(deadline=None)
@given(st.text(alphabet="aZ09-._:@[]/\\%éß。\uff11 ", max_size=30).map(lambda authority: f"http://{authority}/x"))
def test_any_accepted_host_is_one_host_to_every_reader(url: str) -> None:
    try:
        location = to_location(check_url(url)).decode()
    except ValueError:
        return
    parts = urlsplit(location)
    assert parts.hostname
    assert parts.username is None
    assert parts.path.endswith("/x")
    assert re.fullmatch(r"[A-Za-z0-9._\[\]:-]+", parts.netloc)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://short.example/r/abcd", True),
        ("HTTP://SHORT.example.:443/r/abcd?x", True),
        ("https://short.example/%72/abcd", True),
        ("https://short.example/x/../r/abcd", True),
        *(
            (f"https://short.example{path}", True)
            for path in ("//r//x", "/r%2Fx", "/%2e%2E/r/x", "/a/..%2fr/x", "/./r/x/")
        ),
        *(
            (f"https://short.example{path}", True)  # a browser asks for /r/x
            for path in ("/a%2fb/../r/x", "/r//../x", "/a%2Fb/%2E%2e/./r/x", "/r/%2f%2f/../x")
        ),
        ("https://\uff53\uff48\uff4f\uff52\uff54\u3002example/r/x", True),
        ("http://short.example:0080/r/x", True),
        ("https://short.example/%2572/x", False),
        ("https://short.example/links", False),
        ("https://other.example/r/abcd", False),
        ("https://short.example:8443/r/abcd", False),
    ],
)
def test_a_url_that_leads_back_is_known_in_any_spelling(url: str, expected: bool) -> None:
    assert leads_under(url, "https://short.example/r/") is expected


@pytest.mark.parametrize(
    ("url", "base"),
    [
        ("https://bücher.example/r/x", "https://xn--bcher-kva.example/r/"),
        ("https://s.example/gö/r/x", "https://s.example/g%C3%B6/r/"),
        ("https://s.example/g%c3%b6/r/x", "https://s.example/g%C3%B6/r/"),
        ("http://[0:0::1]/r/x", "http://[::1]/r/"),
        ("http://[::ffff:127.0.0.1]/r/x", "http://127.0.0.1/r/"),
        ("http://\uff11\uff12\uff17.0.0.1/r/x", "http://127.0.0.1/r/"),
    ],
)
def test_a_base_is_known_in_any_spelling(url: str, base: str) -> None:
    assert leads_under(check_url(url), base)


@pytest.mark.parametrize("url", ["http://💩.example/", "http://xn--ls8h.example/"])
def test_a_domain_that_idna_does_not_allow_is_refused_in_its_words(url: str) -> None:
    with pytest.raises(ValueError, match=r"^must have a host name that IDNA allows: Codepoint U\+1F4A9"):
        check_url(url)
