"""Gunicorn's settings, all of them from the environment through the plan, and its hooks. It decides nothing itself."""

import gc
import math
import os
import signal
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

APP = os.environ.get("BRIGADE_APP", "")
FEATURES = Path(os.environ.get("BRIGADE_FEATURES") or "service/features").absolute()
"""`run` sets both. Without them the application is an argument of Gunicorn's command."""

# The first process of a container gets no signal without a handler, and Gunicorn's come after all of this.
if os.getpid() == 1 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))

# Python looks for the service first, for the engine where it is not installed, and never in Gunicorn's own folder, which
# has an `http` of its own: there Gunicorn starts when it re-executes itself (SIGUSR2).
PROJECT, ENGINE = str(FEATURES.parents[1]), str(Path(__file__).parents[2])
found = [path for path in sys.path if path != PROJECT and Path(path).name != "gunicorn"]
sys.path[:] = [PROJECT, *([] if ENGINE in {PROJECT, *found} else [ENGINE]), *found]

# A reload reads this file again, and must not find the code of before it. What stays is the memory shared with workers.
OURS = {"brigade", FEATURES.parent.name}
for name in [name for name in sys.modules if name.split(".")[0] in OURS and name != "brigade.server.lifecycle"]:
    del sys.modules[name]

from brigade.server import listening  # noqa: E402
from brigade.settings import ConfigurationError, dotenv, load_settings  # noqa: E402
from brigade.sizing import make_plan, read_limits  # noqa: E402

if os.environ.get("GUNICORN_CMD_ARGS"):
    sys.exit("GUNICORN_CMD_ARGS would overrule the plan: leave it out, and set WEB_CONCURRENCY and the like instead.")
try:
    settings = load_settings()
    from_dotenv = dotenv.read()
    plan = make_plan(settings, read_limits())
except ConfigurationError as error:
    sys.exit(str(error))

# Services may share the folder; each empties a part of its own at its start. prometheus_client, which Master imports, decides
# by the variable.
given, part = os.environ.get("PROMETHEUS_MULTIPROC_DIR"), listening.name_of(settings)
shared_dir = Path(given).absolute() if given else settings.state_dir.resolve() / "metrics"
metrics_dir = shared_dir if shared_dir.name == part else shared_dir / part  # a reload finds the part already there
try:
    metrics_dir.mkdir(parents=True, exist_ok=True)
except OSError:  # a service whose folder cannot be used still serves
    metrics_dir = Path(tempfile.mkdtemp(prefix="metrics-"), part)
    metrics_dir.mkdir()
os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(metrics_dir)

from brigade.server import preload  # noqa: E402
from brigade.server.master import Master  # noqa: E402
from brigade.telemetry import metric_files, scrape  # noqa: E402

# Loaded before the fork, so that workers share them: 37 MB of memory each instead of 53, and a quicker start. Packages
# alone: a reload brings new code of ours, and a new version of a package comes with a restart.
PACKAGES = (
    "anyio._backends._asyncio",
    "anyio.to_process",
    "asyncpg",
    "fastapi.openapi.utils",
    "opentelemetry",
    "pydantic.v1",  # FastAPI loads it when it makes its first route
    "redis.asyncio",
    "starlette.middleware.cors",
)
OF_THE_LAB = ("aiohttp",) if settings.lab_enabled else ()
"""The lab calls its own service where no feature calls others. Loaded at that call it would hold the loop for 0.14 s."""
try:
    for name in (*PACKAGES, *OF_THE_LAB, *preload.names(FEATURES)):
        import_module(name)
except ConfigurationError as error:
    sys.exit(str(error))

if APP:
    wsgi_app = f"{APP}()"
stock = settings.server == "stock"
worker_class = "uvicorn_worker.UvicornWorker" if stock else "brigade.server.worker.Worker"
bind = listening.addresses(settings)
reuse_port = settings.reuse_port
workers = plan.workers
timeout = math.ceil(settings.worker_timeout_s)
graceful_timeout = math.ceil(plan.graceful_timeout_s)
keepalive = math.ceil(plan.keepalive_s)
max_requests = settings.max_requests
max_requests_jitter = settings.max_requests_jitter
forwarded_allow_ips = settings.proxies_as_seen
loglevel = settings.log_level
logger_class = "brigade.telemetry.logs.GunicornLogger"

# Heartbeats are file times: on a disk that stalls, healthy workers would be killed.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108

# It would be a thread in a process that forks, and by default at one path for all services of a user.
control_socket_disable = True


def on_starting(server: Any) -> None:
    scrape.prepare(keep=server.master_pid != 0)  # SIGUSR2: the workers of the old master still count
    if not stock:
        Master.take_over(server, settings)
    gc.freeze()  # a collection writes into each object that it looks at, and the page would be shared no longer


def on_reload(server: Any) -> None:
    server.settings = settings
    gc.freeze()


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001 - Gunicorn calls it with both
    dotenv.keep(from_dotenv)
    metric_files.begin()


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001 - Gunicorn calls it with both
    getattr(worker, "reaped", scrape.fold)()  # the stock worker knows nothing of it
