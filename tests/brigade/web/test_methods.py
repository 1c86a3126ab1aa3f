"""HEAD wherever there is a GET, below a prefix, for pages of other origins, and within limits of a route's own."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Annotated

import httpx
import pytest
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from pydantic import Field, TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from brigade import Body, Settings, Text, location, route_limits
from brigade.hot import HotRoute, answer, served_by
from tests.bare import Bare
from tests.brigade.ops.test_ops import eventually
from tests.brigade.server.clients import exchange
from tests.conftest import StartService

pytestmark = pytest.mark.anyio

router = APIRouter()


class Thing(Body):
    name: Text = "nothing"


@router.get("/things/{name}")
async def read_thing(name: str, request: Request) -> dict[str, str]:
    return {"name": name, "at": location(request, f"/things/{name}"), "path": request.scope["path"]}


@router.get("/broken")
async def break_down() -> None:
    raise ZeroDivisionError


@router.get("/both")
async def read_both() -> str:
    return "GET"


@router.head("/both")
async def head_both() -> StreamingResponse:
    return StreamingResponse(iter(()), headers={"x-own": "yes"})


@router.get("/endless")
async def stream(length: int | None = None) -> StreamingResponse:
    def parts() -> Iterator[bytes]:
        while True:
            yield b"part"

    return StreamingResponse(parts(), headers={"content-length": str(length)} if length else None)


async def answer_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path_params"]["name"] == "none":
        raise HTTPException(404)
    await send(answer(200, [], b"hot"))


@served_by(answer_at_once)
async def read_hot(name: str) -> None:
    raise AssertionError(name)


router.add_api_route("/hot/{name}", read_hot, methods=["GET"], route_class_override=HotRoute)


@router.post("/things")
async def create_thing(thing: Thing) -> Thing:
    return thing


@router.post("/upload")
@route_limits(timeout_s=5, max_body_bytes=2000)
async def upload(request: Request) -> int:
    await asyncio.sleep(0.3)
    return len(await request.body())


@router.post("/small")
async def take(request: Request) -> int:
    await asyncio.sleep(0.3)
    return len(await request.body())


def client_of(**settings: object) -> httpx.AsyncClient:
    values = {"max_body_bytes": 1000, "request_timeout_s": 0.1, **settings}
    app = Bare(Settings.model_validate(values), [router])
    app.middleware_stack = app.build_middleware_stack()
    app.telemetry = False
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://a")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with client_of() as client:
        yield client


async def test_head_has_the_head_of_get(client: httpx.AsyncClient) -> None:
    for path in ("/things/a", "/openapi.json", "/docs", "/none"):
        get, head = await client.get(path), await client.head(path)
        assert head.status_code == get.status_code
        assert head.headers["content-type"] == get.headers["content-type"]
        assert head.headers["content-length"] == get.headers["content-length"]


@pytest.mark.parametrize("length", ["", "?length=10000000000"])
async def test_head_of_a_stream_ends(client: httpx.AsyncClient, length: str) -> None:
    """Also where the length is known: to read all of it would cost as much as a GET."""
    async with asyncio.timeout(5):
        answer = await client.head(f"/endless{length}")
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers.get("content-length", "") == length.removeprefix("?length=")


async def test_a_route_may_serve_head_itself(client: httpx.AsyncClient) -> None:
    assert (await client.head("/both")).headers["x-own"] == "yes"


async def test_allow_names_head_with_get(client: httpx.AsyncClient) -> None:
    assert (await client.put("/things/a")).headers["allow"] == "HEAD, GET"
    assert (await client.get("/small")).headers["allow"] == "POST"


@pytest.mark.drives("links")
def test_every_get_of_a_running_service_answers_head(start_service: StartService) -> None:
    service = start_service(workers=1)
    code = httpx.post(f"{service.url}/links", json={"url": "https://example.com/"}).json()["code"]
    paths = ["/livez", "/readyz", "/metrics", "/workers", "/lab", "/lab/events", "/links?limit=1", "/docs"]
    for path in [*paths, f"/links/{code}", f"/links/{code}/qr", f"/r/{code}", "/openapi.json"]:
        head = httpx.head(f"{service.url}{path}", timeout=5)
        with httpx.stream("GET", f"{service.url}{path}", timeout=5) as get:
            assert (path, head.status_code) == (path, get.status_code)
        assert head.content == b""
    assert "Traceback" not in service.log()


@pytest.mark.drives("links", "sheets")
def test_a_client_that_waits_to_send_a_body_hears_the_limit_of_the_route(start_service: StartService) -> None:
    service = start_service(workers=1, ROOT_PATH="/shop")
    head = b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    for path in (b"/links", b"/shop/links"):
        assert exchange(service.port, head % (path, 2_000_000)).startswith(b"HTTP/1.1 413 ")
    with socket.create_connection(("127.0.0.1", service.port), timeout=10) as client:
        client.sendall(head % (b"/shop/sheets", 2_000_000))
        assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.drives("links")
def test_a_trailing_slash_keeps_scheme_host_and_query_and_counts_no_click(start_service: StartService) -> None:
    service = start_service(workers=1)
    code = httpx.post(f"{service.url}/links", json={"url": "https://example.com/"}).json()["code"]
    behind_tls = {"host": "s.example", "x-forwarded-proto": "HTTPS, http"}  # as two proxies in a row say it
    queries = {"/links/": "limit=2", f"/r/{code}/": "a=b%20c&d=%2F", "/links//": "", "/livez/": ""}
    with httpx.Client(base_url=service.url, headers=behind_tls) as client:
        for path, query in queries.items():
            for method in ("GET", "HEAD"):
                answer = client.request(method, f"{path}?{query}")
                wanted = f"https://s.example{path.rstrip('/')}" + (f"?{query}" if query else "")
                assert (path, answer.status_code, answer.headers["location"]) == (path, 307, wanted)
        assert client.post("/links/", json={"url": "https://example.com/"}).status_code == 307
        for path in ("//evil.example/", "//evil.example/..", "//evil.example/%2e%2e/links/", "/%2Fevil.example/"):
            raw = client.build_request("GET", f"{service.url}{path}")
            assert client.send(raw).status_code == 404
        client.get(f"/r/{code}")
        eventually(lambda: client.get(f"/links/{code}").json()["clicks"] > 0)
        assert client.get(f"/links/{code}").json()["clicks"] == 1


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
async def test_a_body_of_another_content_type_is_415(client: httpx.AsyncClient, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    answer = await client.post("/things", content=b'{"name": "a"}', headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (415, "urn:problem:unsupported-media-type")
    assert "application/json" in answer.json()["detail"]


async def test_a_body_that_is_missing_is_said_to_be(client: httpx.AsyncClient) -> None:
    nothing = client.build_request("POST", "/things")
    assert nothing.headers.pop("content-length") == "0"  # as curl -X POST sends none
    answer = await client.send(nothing)
    assert (answer.status_code, answer.json()["detail"]) == (422, "body: Field required")


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/vnd.api+json; charset=utf-8", "Application/JSON"]
)
async def test_json_by_any_of_its_names_is_taken(client: httpx.AsyncClient, content_type: str) -> None:
    for body in (b'{"name": "a"}', b'\xef\xbb\xbf{"name": "a"}'):
        assert (await client.post("/things", content=body, headers={"content-type": content_type})).is_success


CODINGS = ["gzip", "GZip", "identity, gzip", "br,identity", "aes128gcm"]


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_body_with_a_content_coding_is_415(client: httpx.AsyncClient, coding: str) -> None:
    for body in (gzip.compress(b'{"name": "a"}'), b'{"name": "a"}', iter_of(b'{"name": "a"}')):
        headers = {"content-type": "application/json", "content-encoding": coding}
        answer = await client.post("/things", content=body, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (415, "urn:problem:unsupported-content-coding")
        assert answer.headers["accept-encoding"] == "identity"


async def iter_of(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def test_a_body_without_a_coding_is_taken_and_so_is_what_a_route_reads_itself(client: httpx.AsyncClient) -> None:
    for coding in ("", "identity", "Identity , identity"):
        answer = await client.post("/things", json={"name": "a"}, headers={"content-encoding": coding})
        assert answer.is_success
    assert (await client.post("/upload", content=bytes(7), headers={"content-encoding": "gzip"})).json() == 7
    assert (await client.get("/things/a", headers={"content-encoding": "gzip"})).is_success
    assert (await client.post("/things", headers={"content-encoding": "gzip"})).status_code == 422


@pytest.mark.drives("notes")
def test_a_connection_goes_on_after_a_coded_body(start_service: StartService) -> None:
    with httpx.Client(base_url=start_service(workers=1).url) as client:
        coded = {"content-type": "application/json", "content-encoding": "gzip"}
        for body in (gzip.compress(b'{"text": "a"}'), bytes(900_000)):
            assert client.post("/notes", content=body, headers=coded).status_code == 415
        assert client.post("/notes", json={"text": "a"}).status_code == 201


def test_text_that_is_too_long_is_told_in_characters() -> None:
    with pytest.raises(ValidationError, match="at most 3 characters"):
        TypeAdapter(Annotated[Text, Field(max_length=3)]).validate_python("four")


async def test_a_body_that_is_missing_is_422(client: httpx.AsyncClient) -> None:
    assert (await client.post("/things")).status_code == 422


async def test_a_body_is_strict_and_bounded(client: httpx.AsyncClient) -> None:
    assert (await client.post("/things", json={"name": "a\0b"})).status_code == 422
    assert (await client.post("/things", json={"unknown": 1})).status_code == 422
    many = await client.post("/things", json={str(number): 1 for number in range(101)})
    assert many.status_code == 422
    assert len(many.content) < 1000


async def test_a_route_has_limits_of_its_own(client: httpx.AsyncClient) -> None:
    assert (await client.post("/upload", content=bytes(2000))).json() == 2000
    assert (await client.post("/upload", content=bytes(2001))).status_code == 413
    assert (await client.post("/small", content=bytes(1001))).status_code == 413
    assert (await client.post("/small", content=bytes(10))).status_code == 503


def test_the_server_takes_as_much_as_the_largest_route(start_service: StartService) -> None:
    app = Bare(Settings(max_body_bytes=1000), [router])
    app.build_middleware_stack()
    assert app.limits.max_body_bytes == 2000


async def test_addresses_have_the_prefix_whether_the_proxy_takes_it_off_or_not() -> None:
    async with client_of(root_path="/shop/") as client:
        for path in ("/things/a", "/shop/things/a"):
            answer = await client.get(path)
            assert answer.json() == {"name": "a", "at": "http://a/shop/things/a", "path": "/shop/things/a"}
        redirect = await client.get("/things/a/?limit=2")
        assert redirect.headers["location"] == "http://a/shop/things/a?limit=2"
        assert (await client.get("/openapi.json")).json()["servers"] == [{"url": "/shop"}]
        assert (await client.get("/shopping/things/a")).status_code == 404


async def test_pages_of_named_origins_may_call() -> None:
    async with client_of(cors_origins="https://app.example, http://localhost:5173") as client:
        ask = {"access-control-request-method": "POST", "access-control-request-headers": "content-type, x-api-key"}
        preflight = await client.options("/things", headers={"origin": "https://app.example", **ask})
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == "https://app.example"
        refused = await client.options("/things", headers={"origin": "https://other.example", **ask})
        assert (refused.status_code, refused.headers["content-type"]) == (400, "application/problem+json")
        assert refused.json()["detail"] == "Disallowed CORS origin"
        ask = {"access-control-request-method": "HEAD", "access-control-request-headers": "range,if-range,traceparent"}
        assert (await client.options("/things", headers={"origin": "https://app.example", **ask})).status_code == 200
        for path in ("/things/a", "/none", "/hot/a", "/hot/none", "/broken"):
            answer = await client.get(path, headers={"origin": "http://localhost:5173"})
            assert answer.headers["access-control-allow-origin"] == "http://localhost:5173"
            assert "Origin" in answer.headers["vary"]
            other = await client.get(path, headers={"origin": "https://other.example"})
            assert "access-control-allow-origin" not in other.headers
            assert "Origin" in other.headers["vary"]


async def test_without_cors_origins_nothing_is_said_of_origins(client: httpx.AsyncClient) -> None:
    answer = await client.get("/things/a", headers={"origin": "https://app.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
    assert "vary" not in answer.headers


async def test_openapi_documents_what_the_engine_answers(client: httpx.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"400", "413", "415", "422", "503"} <= paths["/things"]["post"]["responses"].keys()
    assert "application/problem+json" in paths["/things"]["post"]["responses"]["422"]["content"]
    assert paths["/both"]["get"]["responses"].keys() == {"200", "503"}
