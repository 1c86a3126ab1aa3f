"""A request's way through Observe, HotPaths, Guards and FastAPI, and what comes out of it for every kind of end."""

import asyncio
import gc
import json
import weakref
from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Body, Query
from pydantic import AfterValidator
from starlette.types import Message, Receive, Scope, Send

from brigade.errors import Problem
from brigade.settings import Settings
from brigade.telemetry import logs
from brigade.web.hot import HotRoute, answer, served_by
from tests.bare import Bare

pytestmark = pytest.mark.anyio

router = APIRouter()


class Teapot(Problem):
    status, type, title = 418, "urn:problem:teapot", "I am a teapot"


async def greet(scope: Scope, receive: Receive, send: Send) -> None:
    greeting = f"hello {scope['path_params']['name']}".encode()
    await send(answer(200, [(b"content-type", b"text/plain")], greeting))


@served_by(greet)
async def greeting(name: str) -> None:
    """Greet somebody."""
    raise AssertionError(name)


router.add_api_route("/hot/{name}", greeting, methods=["GET"], route_class_override=HotRoute)


@router.get("/teapot")
async def brew() -> None:
    raise Teapot("Try coffee.", headers={"Retry-After": "7"}, spout="left")


@router.get("/broken")
async def break_down() -> None:
    raise RuntimeError("a bug with a secret in it")


@router.get("/end/{how}")
async def end(how: str) -> None:
    raise {"exit": SystemExit("bye"), "interrupt": KeyboardInterrupt(), "cancelled": asyncio.CancelledError()}[how]


@router.get("/slow")
async def wait() -> None:
    await asyncio.sleep(60)


@router.get("/number")
async def read_number(n: Annotated[int, Query(le=3)]) -> int:
    return n


def be_quiet(text: str) -> str:
    if text == "loud":
        raise ValueError("not so loud")
    return text


@router.post("/echo")
async def echo(text: Annotated[str, Body(), AfterValidator(be_quiet)]) -> int:
    return len(text)


@pytest.fixture
def service() -> Bare:
    return Bare(Settings(max_body_bytes=100, request_timeout_s=0.2, expose_worker=True), [router])


@pytest.fixture
async def client(service: Bare) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(service)
    async with httpx.AsyncClient(transport=transport, base_url="http://short.example") as client:
        yield client


def problem(response: httpx.Response) -> dict[str, Any]:
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == response.status_code
    assert {"type", "title"} <= body.keys()
    assert response.headers["x-request-id"]
    return body


async def test_a_problem_carries_its_status_headers_and_members(client: httpx.AsyncClient) -> None:
    response = await client.get("/teapot")
    assert response.headers["retry-after"] == "7"
    assert problem(response) == {
        "type": "urn:problem:teapot",
        "title": "I am a teapot",
        "status": 418,
        "detail": "Try coffee.",
        "spout": "left",
    }


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("DELETE", "/teapot", 405)])
async def test_errors_of_the_framework_look_the_same(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    response = await client.request(method, path)
    assert problem(response)["status"] == status
    assert "allow" in response.headers or status == 404


async def test_invalid_input_is_told_where_and_why(client: httpx.AsyncClient) -> None:
    body = problem(await client.get("/number?n=9"))
    assert body["errors"] == [{"at": "query/n", "message": "Input should be less than or equal to 3"}]


async def test_an_unhandled_error_is_a_500_that_tells_nothing(
    client: httpx.AsyncClient, capfd: pytest.CaptureFixture[str]
) -> None:
    logs.configure(Settings())
    response = await client.get("/broken")
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert problem(response)["status"] == 500
    assert "secret" not in response.text
    assert [(line["event"], line["level"]) for line in lines if line["logger"] != "httpx"] == [
        ("unhandled error", "error"),
        ("request", "info"),
    ]


@pytest.mark.parametrize("how", ["exit", "interrupt", "cancelled"])
async def test_whatever_a_handler_raises_is_a_500_for_the_client_and_the_log(
    client: httpx.AsyncClient, capfd: pytest.CaptureFixture[str], how: str
) -> None:
    logs.configure(Settings())
    response = await client.get(f"/end/{how}")
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert problem(response)["status"] == 500
    assert [line["status"] for line in lines if line["event"] == "request"] == [500]


async def test_a_request_past_its_time_is_a_503(client: httpx.AsyncClient) -> None:
    response = await client.get("/slow")
    assert problem(response)["type"] == "urn:problem:request-timeout"
    assert response.headers["retry-after"]


async def test_a_large_body_is_refused_by_its_length(client: httpx.AsyncClient) -> None:
    assert problem(await client.post("/echo", json="x" * 200))["status"] == 413


async def test_a_large_body_is_refused_while_it_streams(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'"'
        for _ in range(20):
            yield b"x" * 10
        yield b'"'

    response = await client.post("/echo", content=chunks(), headers={"content-type": "application/json"})
    assert problem(response)["status"] == 413


def part(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("body", "statuses"),
    [
        ([part(b'"')], [422]),
        ([part(b"3")], [422]),
        ([part(b'"loud"')], [422]),
        ([part(b'"a', more=True), {"type": "http.disconnect"}], []),
        ([part(b'"' + b"a" * 90, more=True), part(b"a" * 20)], [413]),
    ],
    ids=["no JSON", "wrong type", "wrong value", "left", "too large"],
)
async def test_a_body_that_led_to_an_error_is_forgotten_before_garbage_is_collected(
    service: Bare, body: list[Message], statuses: list[int]
) -> None:
    """It has up to `MAX_BODY_BYTES`, and the collector counts objects, not bytes."""
    headers = [(b"host", b"a"), (b"content-type", b"application/json")]
    scope: Scope = {"type": "http", "http_version": "1.1", "scheme": "http", "client": None, "root_path": ""}
    scope.update(method="POST", path="/echo", query_string=b"", headers=headers)
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    gc.collect()
    gc.disable()
    try:
        left = iter(body)

        async def receive() -> Message:
            return next(left)

        await service(scope, receive, send)
        assert [each["status"] for each in sent[::2]] == statuses
        held = weakref.ref(receive)  # by whatever holds the frames that had the body
        del receive
        assert held() is None
    finally:
        gc.enable()


async def test_a_body_within_the_bound_is_read(client: httpx.AsyncClient) -> None:
    response = await client.post("/echo", json="x" * 98)
    assert (response.status_code, response.json()) == (200, 98)


async def test_a_hot_route_is_served_and_documented(client: httpx.AsyncClient) -> None:
    response = await client.get("/hot/world")
    assert (response.status_code, response.text) == (200, "hello world")
    assert (await client.head("/hot/world")).status_code == 200
    operation = (await client.get("/openapi.json")).json()["paths"]["/hot/{name}"]["get"]
    assert operation["description"] == "Greet somebody."


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/hot/a", 405), ("GET", "/hot/", 404)])
async def test_what_a_hot_route_does_not_serve_goes_the_usual_way(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert (await client.request(method, path)).status_code == status


async def test_a_hot_route_is_reached_through_the_router_too() -> None:
    service = Bare(Settings(), [router])
    service.hot_routes = []
    async with httpx.AsyncClient(transport=httpx.ASGITransport(service), base_url="http://short.example") as client:
        assert (await client.get("/hot/world")).text == "hello world"


def test_a_hot_route_has_one_parameter_at_its_end() -> None:
    with pytest.raises(ValueError, match="one parameter"):
        HotRoute("/a/{b}/c", greeting)


async def test_a_well_formed_request_id_is_given_back(client: httpx.AsyncClient) -> None:
    response = await client.get("/hot/world", headers={"x-request-id": "abc-123"})
    assert response.headers["x-request-id"] == "abc-123"


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'a"b'])
async def test_an_ill_formed_request_id_is_replaced(client: httpx.AsyncClient, given: str) -> None:
    replaced = (await client.get("/hot/world", headers={"x-request-id": given})).headers["x-request-id"]
    assert len(replaced) == 32
    assert replaced != given


async def test_the_worker_is_named_only_where_asked(client: httpx.AsyncClient) -> None:
    assert ":" in (await client.get("/hot/world")).headers["x-worker"]
    silent = httpx.AsyncClient(transport=httpx.ASGITransport(Bare(Settings(), [router])), base_url="http://a")
    async with silent:
        assert "x-worker" not in (await silent.get("/hot/world")).headers
