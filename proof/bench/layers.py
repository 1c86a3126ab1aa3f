"""Tells where the time of an ordinary route goes: Python calls of one request, and shares of the worker's time, by cProfile."""

import pstats
import signal
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from local.process import LocalError
from proof.bench.deployment import Backends, Deployment, deployment
from proof.bench.generator import saturate
from proof.bench.routes import CONNECTIONS, Progress
from proof.prove.own_service import ROOT

START = """
import cProfile, os, signal
profile = cProfile.Profile()

def end(*_):
    profile.dump_stats(__file__ + ".part")
    os.rename(__file__ + ".part", __file__ + ".profile")

signal.signal(signal.SIGRTMIN, lambda *_: profile.enable())
signal.signal(signal.SIGRTMIN + 1, end)
"""
"""Python runs this in every process before anything else. A worker has it from its master, and the two signals of ours."""

ROUTES = {"read": "/links/{}", "create": None, "trivial": "/livez"}
COLUMNS = (("ours", "read"), ("ours", "create"), ("ours", "trivial"), ("textbook", "read"), ("textbook", "create"))
LAYERS = {
    "FastAPI, Starlette, pydantic": ("/fastapi/", "/starlette/", "/pydantic"),
    "the server": ("/uvicorn/", f"{ROOT}/brigade/server/"),
    "asyncpg": ("/asyncpg/",),
    "the engine": (f"{ROOT}/brigade/",),
    "the feature": (f"{ROOT}/service/", f"{ROOT}/proof/"),
    "Python's library and others": ("",),
}
"""Parts of the names of files, of which the first that fits tells the layer."""

PATIENCE_S = 20.0

Function = tuple[str, int, str]


@dataclass(frozen=True)
class Layer:
    calls: float
    """Python functions that one request calls."""
    share: float
    """Share of the worker's time. What is written in C counts for the function that calls it."""


Layers = dict[str, dict[str, Layer]]
"""The key is a server and a route, and then a layer."""


def compare(backends: Backends, *, seconds: int, progress: Progress) -> Layers:
    found: Layers = {}
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder:
        start = Path(folder) / "sitecustomize.py"
        start.write_text(START)
        for name, route in COLUMNS:
            progress(f"layers of {route}, {name}")
            with deployment(name, backends, PYTHONPATH=f"{folder}:{ROOT}") as server:
                found[f"{name}, {route}"] = _profile(server, ROUTES[route], start, seconds)
    return found


def _profile(server: Deployment, pattern: str | None, start: Path, seconds: int) -> dict[str, Layer]:
    paths = [pattern.format(code) for code in server.codes] if pattern else []
    saturate(server.url, paths, connections=CONNECTIONS, seconds=1)  # fills caches and pools
    (worker,), profile = server.workers(), start.with_name(f"{start.name}.profile")
    worker.send_signal(signal.SIGRTMIN)
    requests = saturate(server.url, paths, connections=CONNECTIONS, seconds=seconds).requests
    worker.send_signal(signal.SIGRTMIN + 1)
    deadline = time.monotonic() + PATIENCE_S
    while not profile.exists():
        if time.monotonic() > deadline:
            raise LocalError(f"The worker of {server.name} wrote no profile within {PATIENCE_S:g} s.")
        time.sleep(0.05)
    layers = _by_layer(pstats.Stats(str(profile)), requests)
    profile.unlink()
    return layers


def _by_layer(stats: pstats.Stats, requests: int) -> dict[str, Layer]:
    calls: defaultdict[str, int] = defaultdict(int)
    seconds: defaultdict[str, float] = defaultdict(float)
    functions: dict[Function, tuple[int, int, float, float, dict[Function, tuple[int, int, float, float]]]]
    functions = stats.stats  # type: ignore[attr-defined]  # its class does not declare it
    for function, (_, called, own_s, _, callers) in functions.items():
        if function[0] == "~":
            for caller, (_, _, caller_s, _) in callers.items():
                seconds[_layer_of(caller)] += caller_s
        else:
            calls[_layer_of(function)] += called
            seconds[_layer_of(function)] += own_s
    total_s = sum(seconds.values())
    return {name: Layer(calls[name] / requests, seconds[name] / total_s) for name in LAYERS}


def _layer_of(function: Function) -> str:
    return next(name for name, parts in LAYERS.items() if any(part in function[0] for part in parts))
