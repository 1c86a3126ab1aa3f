"""The clicks of a link as they happen: against one running service, by a WebSocket and by server-sent events."""

import json
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest
from websockets.exceptions import ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from brigade.testing import RunningService, StartService


@pytest.fixture
def service(start_service: StartService) -> RunningService:
    return start_service(workers=2, ACCESS_LOG_SAMPLE="0")


@pytest.fixture
def code(service: RunningService) -> str:
    made = httpx.post(f"{service.url}/links", json={"url": "https://example.com/"})
    return str(made.json()["code"])


def watched(service: RunningService, code: str) -> ClientConnection:
    address = service.url.replace("http", "ws")
    client: ClientConnection = connect(f"{address}/links/{code}/live", compression=None)
    return client


def clicks_until(numbers: Iterator[int], wanted: int) -> list[int]:
    seen = []
    for number in numbers:
        seen.append(number)
        if number == wanted:
            break
    return seen


def of_socket(client: ClientConnection) -> Iterator[int]:
    while True:
        yield json.loads(client.recv(timeout=20))["clicks"]


def of_events(answer: httpx.Response) -> Iterator[int]:
    for line in answer.iter_lines():
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))["clicks"]


def test_clicks_are_told_as_they_happen_until_the_link_is_deleted(service: RunningService, code: str) -> None:
    with ExitStack() as held:
        sockets = [held.enter_context(watched(service, code)) for _ in range(3)]
        events = held.enter_context(httpx.stream("GET", f"{service.url}/links/{code}/live", timeout=20))
        assert events.headers["content-type"].startswith("text/event-stream")
        watchers = [*map(of_socket, sockets), of_events(events)]
        assert [next(watcher) for watcher in watchers] == [0] * 4
        for _ in range(5):
            assert httpx.get(f"{service.url}/r/{code}").status_code == 307
        for watcher in watchers:
            seen = clicks_until(watcher, 5)
            assert seen == sorted(set(seen))
        state = httpx.get(f"{service.url}/workers").json()["workers"]
        assert sum(worker["streams"] for worker in state) == 4
        assert httpx.delete(f"{service.url}/links/{code}").status_code == 204
        for socket in sockets:
            with pytest.raises(ConnectionClosedOK):
                socket.recv(timeout=20)
        assert list(watchers[-1]) == []
    unknown = f"{service.url}/links/{code}/live"
    assert httpx.get(unknown).status_code == 404
    with pytest.raises(InvalidStatus) as refused, watched(service, code):
        pass
    assert refused.value.response.status_code == 404
    assert b"link-not-found" in (refused.value.response.body or b"")


def test_a_client_that_talks_is_still_heard(service: RunningService, code: str) -> None:
    with watched(service, code) as client:
        assert next(of_socket(client)) == 0
        client.send("are you there?")
        client.send(b"and in bytes?")
        assert client.ping().wait(10)
        client.close(3333)
        assert client.protocol.close_rcvd is not None
        assert client.protocol.close_rcvd.code == 3333
