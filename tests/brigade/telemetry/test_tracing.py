"""Spans as an OTLP receiver gets them, over HTTP and as protobuf, from the running service."""

import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
from opentelemetry import trace as otel_trace
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from websockets.sync.client import connect

from brigade.lanes import CpuLane
from brigade.telemetry import tracing
from tests.brigade.ops.test_ops import eventually
from tests.brigade.receiver import CALLER, TRACE, Receiver, variables
from tests.conftest import StartService


def ask(url: str, method: str, path: str, **options: object) -> str:
    """The id of the trace it asked in."""
    trace = f"{int(TRACE, 16) + abs(hash((method, path))) % 2**32:032x}"
    httpx.request(method, f"{url}{path}", headers={"traceparent": f"00-{trace}-{CALLER}-01"}, **options)  # type: ignore[arg-type]
    return trace


@pytest.mark.drives("links")
def test_a_trace_holds_the_request_its_sql_its_redis_and_its_lane(
    start_service: StartService, receiver: Receiver
) -> None:
    service = start_service(workers=1, **variables(receiver))  # type: ignore[arg-type]
    created = ask(service.url, "POST", "/links", json={"url": "https://example.com", "code": "traced"})
    followed = ask(service.url, "GET", "/r/traced")
    drawn = ask(service.url, "GET", "/links/traced/qr")
    wanted = {
        created: {"POST /links", "sql INSERT", "redis"},
        followed: {"GET /r/{code}", "redis lookup", "redis"},
        drawn: {"GET /links/{code}/qr", "cpu lane queue", "cpu lane"},
    }
    for trace, names in wanted.items():
        eventually(partial(receiver.holds, trace, names))
        found = receiver.of(trace)
        root = next(found[name] for name in names if name.startswith(("GET", "POST")))
        assert root.parent_span_id.hex() == CALLER
        ids = {span.span_id for span in found.values()}
        assert all(span.parent_span_id in ids for span in found.values() if span is not root)
        assert all(root.start_time_unix_nano - 2e6 <= span.start_time_unix_nano for span in found.values())
    assert receiver.services == {"links"}
    texts = [a.value.string_value for a in receiver.of(created)["sql INSERT"].attributes if a.key == "db.query.text"]
    assert "example.com" not in texts[0]
    lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
    assert {line.get("trace_id") for line in lines if line["event"] == "request"} == wanted.keys()


def attributes_of(span: Span) -> dict[str, object]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


@pytest.mark.drives("links")
def test_a_websocket_is_a_span_until_it_is_closed(start_service: StartService, receiver: Receiver) -> None:
    service = start_service(workers=1, **variables(receiver))  # type: ignore[arg-type]
    httpx.post(f"{service.url}/links", json={"url": "https://example.com", "code": "traced"}).raise_for_status()
    headers, url = {"traceparent": f"00-{TRACE}-{CALLER}-01"}, service.url.replace("http", "ws", 1)
    with connect(f"{url}/links/traced/live", additional_headers=headers, proxy=None) as client:
        client.recv()
        time.sleep(0.3)
        client.close(3333)
    eventually(partial(receiver.holds, TRACE, {"WS /links/{code}/live"}))
    span = receiver.of(TRACE)["WS /links/{code}/live"]
    assert span.parent_span_id.hex() == CALLER
    assert span.end_time_unix_nano - span.start_time_unix_nano > 0.3e9
    told = attributes_of(span)
    assert (told["http.response.status_code"], told["websocket.close_code"]) == (101, 3333)
    assert span.status.code == span.status.STATUS_CODE_UNSET
    eventually(lambda: '"event":"websocket"' in service.log())  # a thread writes it, perhaps after the span was sent
    lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
    assert [line["trace_id"] for line in lines if line["event"] == "websocket"] == [TRACE]
    statements = [each for each in receiver.spans if each.trace_id.hex() == TRACE and each.name.startswith("sql")]
    assert len(statements) <= 1, "what the worker does by itself is in the trace"


def test_a_call_to_another_service_continues_the_trace_and_the_request_there(
    start_service: StartService, receiver: Receiver
) -> None:
    """The other service is this one."""
    service = start_service(workers=1, **variables(receiver))  # type: ignore[arg-type]
    trace = f"{int(TRACE, 16) + 1:032x}"
    headers = {"traceparent": f"00-{trace}-{CALLER}-01", "X-Request-ID": "from-outside"}
    httpx.get(f"{service.url}/lab/io/http?ms=5", headers=headers).raise_for_status()
    host = service.url.removeprefix("http://")
    names = ["GET /lab/io/{kind}", f"GET {host}", "GET /lab/sleep/awaited"]
    eventually(partial(receiver.holds, trace, set(names)))
    asked, call, there = (receiver.of(trace)[name] for name in names)
    assert asked.parent_span_id.hex() == CALLER
    assert there.parent_span_id == call.span_id
    assert (call.kind, there.kind) == (Span.SPAN_KIND_CLIENT, Span.SPAN_KIND_SERVER)
    lines = [json.loads(line) for line in service.log().splitlines() if line.startswith("{")]
    seen = [(line["path"], line["request_id"]) for line in lines if line["event"] == "request"]
    assert seen == [("/lab/sleep/awaited", "from-outside"), ("/lab/io/http", "from-outside")]


@pytest.mark.drives("links")
def test_a_job_in_the_lanes_process_belongs_to_its_request(start_service: StartService, receiver: Receiver) -> None:
    service = start_service(workers=1, CPU_LANE_PROCESSES=1, **variables(receiver))  # type: ignore[arg-type]
    httpx.post(f"{service.url}/links", json={"url": "https://example.com", "code": "traced"}).raise_for_status()
    trace = ask(service.url, "GET", "/links/traced/qr")
    eventually(partial(receiver.holds, trace, {"GET /links/{code}/qr", "cpu lane"}))


@pytest.mark.anyio
async def test_a_job_in_the_lanes_process_knows_its_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_tracer", otel_trace.get_tracer("test"))
    context = otel_trace.SpanContext(int(TRACE, 16), int(CALLER, 16), is_remote=False)
    lane = CpuLane(threads=1, queue=0, processes=True)
    with otel_trace.use_span(otel_trace.NonRecordingSpan(context)):
        assert await lane.run(current_trace) == TRACE
    assert await lane.run(current_trace) == "0" * 32


def current_trace() -> str:
    return otel_trace.format_trace_id(otel_trace.get_current_span().get_span_context().trace_id)


def test_what_nobody_asked_for_and_what_machines_ask_make_no_trace(
    start_service: StartService, receiver: Receiver
) -> None:
    service = start_service(workers=1, **variables(receiver))  # type: ignore[arg-type]
    httpx.get(f"{service.url}/readyz")
    wrong = {"traceparent": "00-zz", "tracestate": "=" * 2000 + ",a b=c", "baggage": f"a={'b' * 9000},=;"}
    httpx.get(f"{service.url}/docs", headers=wrong)
    service.stop()  # sends what is left
    assert '"logger":"opentelemetry' not in service.log(), "a client's headers are repeated in the log"
    assert {span.name for span in receiver.spans if not span.parent_span_id} == {"GET /docs"}


@pytest.mark.parametrize("off", [{}, {"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_without_an_endpoint_or_switched_off_there_are_no_traces(
    start_service: StartService, receiver: Receiver, off: dict[str, str]
) -> None:
    service = start_service(workers=1, **(variables(receiver) | off if off else {}))  # type: ignore[arg-type]
    httpx.get(f"{service.url}/docs")
    service.stop()
    assert receiver.spans == []
    assert "trace_id" not in service.log()


@pytest.fixture
def silent() -> Iterator[str]:
    """A collector that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_collector_that_does_not_answer_holds_neither_a_stop_nor_a_reload(
    silent: str, start_service: StartService
) -> None:
    service = start_service(workers=1, OTEL_EXPORTER_OTLP_ENDPOINT=silent, GRACEFUL_TIMEOUT_S=60)
    (old,) = service.worker_pids()

    def make_spans() -> None:
        with httpx.Client(base_url=service.url) as client:
            for _ in range(1200):
                client.get("/nowhere")

    make_spans()
    os.kill(service.pid, signal.SIGHUP)
    eventually(lambda: old not in service.worker_pids(), within_s=12)
    service.wait_ready()
    make_spans()
    os.kill(service.pid, signal.SIGTERM)
    assert service.wait(timeout_s=12) == 0
    assert "Traceback" not in service.log()
    assert "the last ones are lost" in service.log()


@pytest.mark.drives("links")
def test_a_sampler_is_asked_once_for_each_request(start_service: StartService, receiver: Receiver) -> None:
    """By FastAPI once more, a tenth would be a hundredth; and what is not drawn has its id in the log all the same."""
    sampled = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    service = start_service(workers=1, **variables(receiver), **sampled)  # type: ignore[arg-type]
    httpx.post(f"{service.url}/links", json={"url": "https://example.com", "code": "drawn"}).raise_for_status()
    with httpx.Client(base_url=service.url) as client:
        for path in ("/links/drawn", "/r/drawn") * 100:
            client.get(path)
        unwanted = client.get("/links/drawn", headers={"traceparent": f"00-{TRACE}-{CALLER}-00"})
        wanted = ask(service.url, "GET", "/links/drawn")
    assert unwanted.is_success
    eventually(partial(receiver.holds, wanted, {"GET /links/{code}"}))
    for name in ("GET /links/{code}", "GET /r/{code}"):
        # An exporter that waits in vain for its answer sends the same spans again.
        drawn = {span.span_id for span in receiver.spans if span.name == name and span.trace_id.hex() != wanted}
        assert 25 < len(drawn) < 75
    assert not receiver.of(TRACE)
    service.stop()
    lines = [json.loads(line) for line in service.log().splitlines()]
    assert all("trace_id" in line for line in lines if line["event"] == "request")
