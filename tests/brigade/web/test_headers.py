"""What every answer says of itself, and what none does."""

import re

import httpx
import pytest

from brigade.headers import SECURITY_HEADERS
from tests.brigade.server.clients import exchange
from tests.conftest import StartService

NAMES = [name for name, _ in SECURITY_HEADERS]


def head_of(answer: bytes) -> list[bytes]:
    return [line.partition(b":")[0].lower() for line in answer.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]]


@pytest.mark.drives("links", "lab")
def test_security_headers_are_on_every_answer_once_and_no_banner_is(start_service: StartService) -> None:
    service = start_service(workers=1, MAX_BODY_BYTES=1000, API_KEYS="team:opensesame", REQUEST_TIMEOUT_S=1)
    code = httpx.post(
        f"{service.url}/links", json={"url": "https://example.com/"}, headers={"X-API-Key": "opensesame"}
    ).json()["code"]
    requests = {
        "GET /docs": 200, "GET /lab": 200, "GET /lab/page/main.js": 200, "GET /openapi.json": 200, "GET /metrics": 200,
        "GET /livez": 200, f"GET /links/{code}/qr": 200, "GET /nowhere": 404, "PUT /links": 405, "GET /links": 401,
        "GET /r/none": 404, f"POST /r/{code}": 405, "GET /lab/sleep/awaited?ms=3000": 503, "GET /lab/io/none": 422,
        "GET /": 404, "GET / HTTP/2.0\r\n": 505, "GET nowhere": 400,
    }  # fmt: skip
    for request, status in requests.items():
        line = request if "HTTP" in request else f"{request} HTTP/1.1\r\n"
        answer = exchange(service.port, f"{line}Host: a\r\nConnection: close\r\n\r\n".encode())
        assert int(answer.split()[1]) == status, (request, answer)
        names = head_of(answer)
        assert [names.count(name) for name in NAMES] == [1] * len(NAMES), (request, names)
        assert b"server" not in names
        assert (b"content-security-policy" in names) == (b"content-type: text/html" in answer.lower()) or "/lab" in line
    # A cache in front, which knows nothing of X-API-Key, keeps no answer that took a key.
    keyed = {"GET /links": [b"private"], f"GET /links/{code}/qr": [b"public, max-age=31536000, immutable"]}
    for line, kept in keyed.items():
        asked = exchange(
            service.port, f"{line} HTTP/1.1\r\nHost: a\r\nX-API-Key: opensesame\r\nConnection: close\r\n\r\n".encode()
        )
        assert re.findall(rb"(?mi)^cache-control: (.*)\r$", asked) == kept, asked
    large = exchange(service.port, b"POST /links HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n" + b"x" * 9999)
    assert int(large.split()[1]) == 413
    assert set(NAMES) <= set(head_of(large))
    # A redirect has nothing that could be sniffed or framed.
    followed = exchange(service.port, f"GET /r/{code} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert followed.startswith(b"HTTP/1.1 307")
    assert not set(NAMES) & set(head_of(followed))
