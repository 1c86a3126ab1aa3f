"""Real proxies in front of a port, each of which logs whose answer it gave to which request."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.process import free_port

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 2048; }}
http {{
  log_format answers '"$upstream_http_x_frame_options" "$upstream_http_x_served" $request_uri';
  access_log {folder}/log answers;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  map $http_upgrade $hop {{ default upgrade; "" ""; }}
  upstream service {{ server 127.0.0.1:{service}; keepalive 64; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://service; proxy_http_version 1.1; proxy_next_upstream off;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $hop;
    }}
  }}
}}
"""

HAPROXY = """
global
  log stdout format raw local0
defaults
  mode http
  timeout connect 2s
  timeout client 5s
  timeout server 5s
  timeout http-request 5s
  retries 0
  http-reuse always
frontend public
  bind 127.0.0.1:{port}
  log global
  declare capture response len 20
  declare capture response len 60
  http-response capture res.hdr(x-frame-options) id 0
  http-response capture res.hdr(x-served) id 1
  log-format '"%[capture.res.hdr(0)]" "%[capture.res.hdr(1)]" %HU'
  default_backend service
backend service
  server one 127.0.0.1:{service}
"""

CADDY = """
{{
  admin off
  auto_https off
  persist_config off
}}
http://:{port} {{
  bind 127.0.0.1
  log {{
    output file {folder}/log
    format json
  }}
  reverse_proxy 127.0.0.1:{service}
}}
"""


WHERE = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])


@dataclass
class Proxy:
    port: int
    read_log: Callable[[], Iterator[tuple[bool, str, str]]]
    """For each request: whether the service answered it, the path that the answer is for, and the path that was asked for."""

    def answers(self) -> tuple[int, Counter[str]]:
        """How many the service gave, and those of the application by path. None is for another request."""
        lines = [line for line in self.read_log() if line[0]]
        strangers = [line for line in lines if line[1] and _path(line[1]) != line[2]]
        assert not strangers, strangers
        return len(lines), Counter(served for _, served, _ in lines if served)


def _read_lines(file: Path) -> Iterator[tuple[bool, str, str]]:
    for line in file.read_text(errors="replace").splitlines():
        if match := re.fullmatch(r'"(.*?)" "(.*?)" (.*)', line):
            marker, served, target = (field.strip("-") if field == "-" else field for field in match.groups())
            yield bool(marker), served, _path(target)


def _read_json(file: Path) -> Iterator[tuple[bool, str, str]]:
    for line in file.read_text().splitlines() if file.exists() else ():
        document = json.loads(line)
        headers = document.get("resp_headers", {})
        target = _path(document["request"]["uri"])
        yield "X-Frame-Options" in headers, "".join(headers.get("X-Served", [])), target


def _path(target: str) -> str:
    return re.sub(r"^(https?://[^/]*)?([^?#]*).*", r"\2", target)


COMMANDS = {
    "nginx": (NGINX, ["nginx", "-c", "{file}", "-e", "{folder}/early"], _read_lines),
    "haproxy": (HAPROXY, ["haproxy", "-db", "-f", "{file}"], _read_lines),
    "caddy": (
        CADDY,
        ["caddy", "run", "--adapter", "caddyfile", "--config", "{file}"],
        _read_json,
    ),
}


@contextmanager
def proxy(kind: str, folder: Path, service: int) -> Iterator[Proxy]:
    template, (program, *options), read = COMMANDS[kind]
    found = shutil.which(program, path=WHERE)
    if found is None:
        pytest.skip(f"{program} is not installed")
    folder.mkdir()
    port, file = free_port(), folder / "config"
    file.write_text(template.format(folder=folder, port=port, service=service))
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [found, *(word.format(file=file, folder=folder) for word in options)], stdout=out, stderr=subprocess.STDOUT
        )
    log = folder / ("out" if kind == "haproxy" else "log")
    try:
        _await_listener(port, process, folder)
        yield Proxy(port, lambda: read(log))
    finally:
        process.terminate()
        process.wait(10)


def _await_listener(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert process.poll() is None, (folder / "out").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return
