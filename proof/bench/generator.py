"""The source of the requests: wrk, in C, if it is installed; otherwise our own client, which is itself the bottleneck."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile

from proof.bench.client import NONE, Load, Result, in_turn, new_links

SCRIPT = Path(__file__).with_name("requests.lua")
WRK = shutil.which("wrk")
CANNOT = (
    "wrk is not installed (Debian: apt-get install wrk), so the requests come from a Python client that is slower than "
    "the servers: requests/s and latencies are the client's own and are not compared, CPU time a request is."
)


def saturate(
    url: str, paths: Sequence[str], *, connections: int, seconds: float, headers: Mapping[str, str] = NONE
) -> Result:
    """Send as many requests as `connections` get answered, each one after the other. Without paths, send new links."""
    if WRK is None:
        requests = in_turn(paths, headers) if paths else new_links(headers)
        return asyncio.run(Load(requests, connections=connections, seconds=seconds).run(url))
    with NamedTemporaryFile("w", suffix=".paths") as file:
        file.write("\n".join(paths))
        file.flush()
        options = ["-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "20s", "-s", str(SCRIPT)]
        options += [f"-H{name}: {value}" for name, value in headers.items()]
        command = [WRK, *options, url, "--", file.name if paths else "POST"]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Result(**json.loads(output.partition("RESULT ")[2]))


def at_rate(url: str, paths: Sequence[str], *, connections: int, seconds: float, rate: float) -> Result:
    return asyncio.run(Load(in_turn(paths), connections=connections, seconds=seconds, rate=rate).run(url))
