"""The absolute URLs that answers name are Starlette's own, and built once."""

import sys
from types import FrameType
from typing import Any

import pytest
from starlette.requests import Request

from brigade import location

SCOPES: list[dict[str, Any]] = [
    {},
    {"scheme": "https"},
    {"root_path": "/shop"},
    {"root_path": "/shop/", "app_root_path": "/"},
    {"server": ("127.0.0.1", 8000), "headers": []},
    {"server": None, "headers": []},
    {"headers": [(b"host", b"b.example:8443")]},
    {"headers": [(b"host", b"first.example"), (b"accept", b"*/*"), (b"host", b"second.example")]},
    {"headers": [(b"host", b"sp ace")], "server": ("10.0.0.1", 80)},
]


def request(changed: dict[str, Any]) -> Request:
    headers = [(b"host", b"a.example")]
    standing = {"type": "http", "scheme": "http", "server": ("a", 80), "root_path": "", "headers": headers}
    return Request(standing | changed)


@pytest.mark.parametrize("changed", SCOPES)
def test_location_is_below_the_base_of_the_request(changed: dict[str, Any]) -> None:
    base = str(request(changed).base_url).rstrip("/")
    assert location(request(changed), "/things/1") == f"{base}/things/1"
    assert location(request(changed), "") == f"{base}/"


@pytest.mark.parametrize("host", ["a.example", "[::1]"])
def test_an_empty_port_is_the_default_one(host: str) -> None:
    assert location(request({"headers": [(b"host", f"{host}:".encode())]}), "x") == f"http://{host}/x"


def test_second_location_of_a_host_builds_no_url() -> None:
    called: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            called.append(frame.f_code.co_filename)

    for _ in range(2):
        asked = request({})
        called.clear()
        sys.setprofile(note)
        location(asked, "/things/1")
        sys.setprofile(None)
    assert not [file for file in called if file.endswith("starlette/datastructures.py")]
