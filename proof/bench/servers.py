"""The servers that are compared: the command of each and its options, as its users would start it."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

BIND = "--bind=127.0.0.1:{port}"
STOCK = ("-m", "gunicorn", "-k", "uvicorn_worker.UvicornWorker", BIND)
APP = "service.main:create_app"
RESPAWN = ("--respawn-failed-workers",)
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
NO_NGINX = "nginx is not installed (Debian: apt-get install nginx-light), so the limit of this machine is not measured."

NGINX_CONF = """
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    client_body_temp_path {home}; proxy_temp_path {home}; fastcgi_temp_path {home}; uwsgi_temp_path {home}; scgi_temp_path {home};
    server {{
        listen 127.0.0.1:{port};
        location / {{ return 307 https://example.com/where/it/leads; }}
    }}
}}
"""


@dataclass(frozen=True)
class Server:
    arguments: tuple[str, ...]
    """Arguments of Python, or of nginx."""
    variables: Mapping[str, str] = field(default_factory=dict)
    is_ours: bool = False
    is_textbook: bool = False

    @property
    def has_links(self) -> bool:
        return self.is_ours or self.is_textbook


SERVERS = {
    "ours": Server(("-m", "service", "run"), is_ours=True),
    "ours, 1 of 100 logged": Server(("-m", "service", "run"), {"ACCESS_LOG_SAMPLE": "0.01"}, is_ours=True),
    "textbook": Server((*STOCK, "proof.textbook.app:app"), is_textbook=True),
    "textbook, logging": Server((*STOCK, "--access-logfile=-", "proof.textbook.app:app"), is_textbook=True),
    "ceiling": Server(("-m", "gunicorn", "-c", "brigade/server/gunicorn_conf.py", "proof.bench.ceiling:app")),
    "stock ceiling": Server((*STOCK, "proof.bench.ceiling:app")),
    "nginx": Server(()),
    "stock uvicorn worker": Server(("-m", "service", "run"), {"SERVER": "stock"}, is_ours=True),
    "uvicorn": Server(("-m", "uvicorn", APP, "--factory", "--port={port}", "--workers={workers}"), is_ours=True),
    "Granian": Server(
        ("-m", "granian", "--interface=asgi", "--factory", APP, "--port={port}", "--workers={workers}", *RESPAWN),
        is_ours=True,
    ),
    "Gunicorn's ASGI worker": Server(
        ("-m", "gunicorn", "-k", "asgi", BIND, "--workers={workers}", "--timeout=5", f"{APP}()"), is_ours=True
    ),
}
"""All with their defaults: ours logs every request, and Gunicorn none unless it is told to."""


def command(name: str, python: str, *, home: Path, port: int, workers: int) -> list[str]:
    if name != "nginx":
        return [python, *(part.format(port=port, workers=workers) for part in SERVERS[name].arguments)]
    assert NGINX
    (home / "nginx.conf").write_text(NGINX_CONF.format(home=home, port=port))
    return [NGINX, "-p", str(home), "-c", str(home / "nginx.conf")]
