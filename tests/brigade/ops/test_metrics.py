import asyncio
import os
import signal
import socket
import struct
import subprocess
import tempfile
import threading
from collections import Counter
from contextlib import ExitStack, closing, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.parser import text_string_to_metric_families

from brigade.telemetry.scrape import fold, prepare, scrape
from local.process import free_port
from tests.brigade.ops.test_ops import eventually
from tests.brigade.server.clients import exchange
from tests.conftest import StartService
from tests.running import RunningService

CLIENTS = 24
DONE = mmap_key("done", "done_total", [], [], "Help.")
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def families(url: str) -> list[Metric]:
    return list(text_string_to_metric_families(httpx.get(f"{url}/metrics", verify=False).raise_for_status().text))


def samples(url: str, *types: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families(url)
        if not types or family.type in types
        for sample in family.samples
    }


def total(url: str, name: str, **labels: str) -> float:
    return sum(
        value for (found, of), value in samples(url).items() if found == name and labels.items() <= dict(of).items()
    )


async def _ask_again_and_again(port: int, path: str, stop: asyncio.Event, answers: Counter[int]) -> None:
    """One client: it counts an answer once it has all of it, and comes back after it was cut off."""
    while not stop.is_set():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(OSError, asyncio.IncompleteReadError), closing(writer):
            while not stop.is_set():
                writer.write(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0]))
                answers[int(head[9:12])] += 1


async def _load(service: RunningService, path: str, kills: int) -> tuple[Counter[int], list[Samples]]:
    stop, answers, scrapes = asyncio.Event(), Counter[int](), []
    clients = [asyncio.create_task(_ask_again_and_again(service.port, path, stop, answers)) for _ in range(CLIENTS)]
    for turn in range(kills * 8):
        await asyncio.sleep(0.15)
        scrapes.append(await asyncio.to_thread(samples, service.url, "counter", "histogram"))
        if turn % 8 == 4:
            os.kill(service.worker_pids()[0], signal.SIGKILL)
    stop.set()
    await asyncio.gather(*clients)
    return answers, scrapes


@pytest.mark.drives("links")
def test_killed_workers_answers_stay_counted_and_no_counter_goes_back(start_service: StartService) -> None:
    service = start_service(workers=2, ACCESS_LOG_SAMPLE=0)
    httpx.post(f"{service.url}/links", json={"url": "https://example.com", "code": "counted"}).raise_for_status()
    answers, scrapes = asyncio.run(_load(service, "/r/counted", kills=4))
    scrapes.append(samples(service.url, "counter", "histogram"))
    assert sum(answers.values()) > 500
    for status, count in answers.items():
        assert total(service.url, "http_requests_total", route="/r/{code}", status=str(status)) == count
    for before, after in pairwise(scrapes):
        assert {key: (value, after.get(key)) for key, value in before.items() if after.get(key, -1) < value} == {}
    assert total(service.url, "worker_exits_total", cause="died") == 4


def test_dead_workers_leave_neither_gauges_nor_files(start_service: StartService) -> None:
    service = start_service(workers=2)

    def gauges() -> set[str]:
        return {dict(labels)["pid"] for name, labels in samples(service.url) if name == "worker_cpu_cores"}

    for _ in range(3):
        eventually(lambda: gauges() == {str(pid) for pid in service.worker_pids()})
        os.kill(service.worker_pids()[0], signal.SIGKILL)
    eventually(lambda: gauges() == {str(pid) for pid in service.worker_pids()} and len(gauges()) == 2)
    files = {file.stem.rpartition("_")[2] for file in service.home.rglob("metrics/*/*.db")}
    assert files == {"dead", str(service.pid), *map(str, service.worker_pids())}


def _replaced(service: RunningService, old: set[int]) -> bool:
    return len(service.worker_pids()) == len(old) and not old & set(service.worker_pids())


def test_counts_outlive_a_reload(start_service: StartService) -> None:
    service = start_service(workers=2)
    for _ in range(20):
        httpx.get(f"{service.url}/nowhere", verify=False)
    for reloads in (1, 2):
        old = set(service.worker_pids())
        os.kill(service.pid, signal.SIGHUP)
        eventually(partial(_replaced, service, old), within_s=30)
        service.wait_ready()
        assert total(service.url, "http_requests_total", route="unmatched") == 20
        assert total(service.url, "worker_exits_total", cause="told") == 2 * reloads


def test_old_counts_are_gone_after_a_restart(start_service: StartService, tmp_path: Path) -> None:
    port, state = free_port(), tmp_path / "state"
    service = start_service(workers=1, PORT=port, STATE_DIR=state)
    for _ in range(20):
        httpx.get(f"{service.url}/nowhere", verify=False)
    service.kill()
    service = start_service(workers=1, PORT=port, STATE_DIR=state)
    assert total(service.url, "http_requests_total", route="unmatched") == 0


def test_services_that_share_a_folder_of_metrics_count_apart(start_service: StartService, tmp_path: Path) -> None:
    """Each empties its part at its start, and a reload reads the variable again."""
    first = start_service(workers=1, PROMETHEUS_MULTIPROC_DIR=tmp_path / "metrics")
    httpx.get(f"{first.url}/nowhere", verify=False)
    second = start_service(workers=1, PROMETHEUS_MULTIPROC_DIR=tmp_path / "metrics")
    for _ in range(2):
        httpx.get(f"{second.url}/nowhere", verify=False)
    old = set(second.worker_pids())
    os.kill(second.pid, signal.SIGHUP)
    eventually(partial(_replaced, second, old), within_s=30)
    second.wait_ready()
    counts = [total(service.url, "http_requests_total", route="unmatched") for service in (first, second)]
    assert counts == [1, 2]


@pytest.mark.drives("lab")
def test_metrics_answer_while_every_loop_is_blocked(start_service: StartService) -> None:
    port = free_port()
    service = start_service(workers=2, OPS_PORT=port, LOOP_BLOCKED_MS=50)
    threads = [threading.Thread(target=_block, args=(service.url,)) for _ in range(8)]
    for thread in threads:
        thread.start()

    def stalled() -> list[float]:
        found = samples(f"http://127.0.0.1:{port}")
        return [value for (name, _), value in found.items() if name == "event_loop_stall_seconds"]

    eventually(lambda: len(stalled()) == 2 and min(stalled()) > 0.5)
    for thread in threads:
        thread.join()


def _block(url: str) -> None:
    with suppress(httpx.HTTPError):
        httpx.get(f"{url}/lab/sleep/blocking?ms=1500", timeout=30)


ODD_TARGETS = [
    *(
        "/metrics?x",
        "//metrics",
        "/metrics/",
        "/./metrics",
        "/x/../metrics",
        "/%6detrics",
        "/x/..%2fmetrics",
        "/METRICS",
    ),
    *("/%2e/metrics", "/metrics%00", "/metrics;x", "/metrics%2f", "/lab/%2e%2e/workers", "/lab//page/main.js", "*"),
    *("http://a/metrics", "http://a:1/workers", "/workers#x", "/%2fmetrics", "/lab/page/..%2f..%2fworkers"),
]


def test_metrics_answer_after_and_beside_clients_that_end_no_head(start_service: StartService) -> None:
    port = free_port()
    start_service(workers=1, OPS_PORT=port)
    assert exchange(port, b"GET /metrics HTTP/1.1\n\n", end=True) == b""
    stop = threading.Event()

    def drip(client: socket.socket) -> None:
        with suppress(OSError):
            while not stop.wait(0.3):
                client.sendall(b"a")

    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\n")
        dripping = threading.Thread(target=drip, args=(client,))
        dripping.start()
        try:
            assert httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).is_success
        finally:
            stop.set()
            dripping.join()


def test_clients_that_say_nothing_hold_up_neither_metrics_nor_probes(start_service: StartService) -> None:
    """A browser opens such connections in reserve."""
    port = free_port()
    start_service(workers=1, OPS_PORT=port)
    with ExitStack() as clients:
        for head in [b"", b"GET /metrics HTTP/1.1\r\n"] * 10:
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(head)
        for path in ("/metrics", "/readyz"):
            assert httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).is_success


def test_metrics_are_in_the_format_that_every_scraper_reads(start_service: StartService) -> None:
    """Version 1.0.0 is for those who ask for it. Telegraf and others know 0.0.4 alone."""
    port = free_port()
    service = start_service(workers=1, OPS_PORT=port)
    for url in (service.url, f"http://127.0.0.1:{port}"):
        assert httpx.get(f"{url}/metrics").headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.drives("lab")
def test_what_is_for_operators_can_be_kept_off_the_public_port(start_service: StartService) -> None:
    port = free_port()
    service = start_service(workers=1, OPS_PORT=port, OPS_PUBLIC=0)
    paths = ["/metrics", "/workers", "/lab", "/lab/page/main.js", "/lab/sleep/awaited?ms=x"]
    on_ops_port = [httpx.get(f"http://127.0.0.1:{port}{path}").status_code for path in paths]
    assert on_ops_port == [200, 200, 200, 200, 422]
    for path in paths:
        hidden, unknown = httpx.get(f"{service.url}{path}"), httpx.get(f"{service.url}/nowhere")
        assert (hidden.status_code, hidden.content) == (404, unknown.content)
    assert httpx.get(f"http://127.0.0.1:{port}/livez").is_success
    for target in ODD_TARGETS:
        for method, host in (("GET", "a"), ("HEAD", "a"), ("GET", f"127.0.0.1:{port}")):
            head = (
                f"{method} {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Port: {port}\r\nConnection: close\r\n\r\n"
            )
            answer = exchange(service.port, head.encode())
            # 307 tells the path without its slash, which is a 404 too.
            assert int(answer.split()[1]) in {400, 404, 405, 307}, (head, answer)


@pytest.mark.drives("links")
def test_paths_that_are_no_route_share_one_series(start_service: StartService) -> None:
    service = start_service(workers=1)
    for number in range(5):
        httpx.get(f"{service.url}/{number}/nowhere", verify=False)
        httpx.get(f"{service.url}/links/unknown-{number}", verify=False)
    assert total(service.url, "http_requests_total", route="unmatched", status="404") == 5
    assert total(service.url, "http_requests_total", route="/links/{code}", status="404") == 5
    assert not any(labels and "nowhere" in str(labels) for _, labels in samples(service.url))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    return tmp_path


def count_in(folder: Path, owner: int | str, key: str = DONE) -> None:
    counts = MmapedDict(str(folder / f"counter_{owner}.db"))
    counts.write_value(key, 1.0, 0.0)
    counts.close()


def done() -> list[str]:
    return [line for line in scrape().decode().splitlines() if line.startswith("done_total")]


def test_a_scrape_during_a_fold_counts_nothing_twice_and_misses_nothing(folder: Path) -> None:
    stopped = threading.Event()
    seen: set[str] = set()

    def look() -> None:
        while not stopped.is_set():
            stopped.wait(0.005)  # a reader at once after the other would never let the fold in
            seen.update(done())

    workers = [subprocess.Popen(["sleep", "600"]) for _ in range(40)]
    readers = [threading.Thread(target=look) for _ in range(2)]
    for worker in workers:
        count_in(folder, worker.pid)
    for reader in readers:
        reader.start()
    for worker in workers:
        worker.kill()
        worker.wait()
        fold()
    stopped.set()
    for reader in readers:
        reader.join()
    assert seen == {"done_total 40.0"}
    assert [file.name for file in folder.glob("*.db")] == ["counter_dead.db"]


def whole_file(key: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        count_in(Path(folder), 1, key)
        return (Path(folder) / "counter_1.db").read_bytes()


WHOLE = whole_file(DONE)
DAMAGE = {
    "empty": b"",
    "two bytes": WHOLE[:2],
    "cut in a key": WHOLE[:20],
    "cut in a value": WHOLE[: 8 + 4 + len(DONE) + 4],
    "length beyond the end": b"\xff\xff\xff\x7f" + WHOLE[4:],
    "length of a key": WHOLE[:8] + b"\xff\xff\xff\x7f" + WHOLE[12:],
    "length of a key that leads back": WHOLE[:8] + struct.pack("i", -28) + WHOLE[12:],
    "key that is no JSON": WHOLE.replace(b'["done"', b'["done!', 1),
    "key that is no UTF-8": WHOLE.replace(b'["done"', b'["do\xff\xfe"', 1),
    "key without labels": whole_file('["done", "done_total", [], "Help."]'),
    "key that is a number": whole_file("1"),
    "label that is a number": whole_file('["done", "done_total", {"a": 1}, "Help."]'),
    "noise": bytes(range(256)) * 16,
}
DEAD_PID = 2**22 + 1
"""Above the largest that Linux gives."""


@pytest.mark.parametrize("owner", ["living", "dead"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_costs_its_own_numbers_only(owner: str, damage: str, folder: Path) -> None:
    count_in(folder, os.getpid())
    pid = os.getppid() if owner == "living" else DEAD_PID
    (folder / f"counter_{pid}.db").write_bytes(DAMAGE[damage])
    (folder / f"histogram_{pid}.db").write_bytes(DAMAGE[damage])
    assert done() == ["done_total 1.0"]
    count_in(folder, DEAD_PID + 1)
    fold()
    fold()
    assert done() == ["done_total 2.0"]
    assert (folder / f"counter_{pid}.db").exists() == (owner == "living")


@pytest.mark.parametrize("name", ["counter_1.db", f"counter_{DEAD_PID}.db", "counter_dead.db", "gauge_1.db", "odd.db"])
def test_folder_and_other_files_among_the_metrics_are_left_out(name: str, folder: Path) -> None:
    count_in(folder, os.getpid())
    (folder / name).mkdir()
    for odd in range(5):  # in a folder's order some come before the others, and some after
        (folder / f"odd_all_{DEAD_PID + odd}.db").write_bytes(WHOLE)
    assert done() == ["done_total 1.0"]
    count_in(folder, DEAD_PID + 1)
    fold()
    assert done() == ["done_total 2.0"]
    prepare(keep=False)
    assert {file.stem.rpartition("_")[2] for file in folder.glob("*.db")} == {f"{os.getpid()}"}
    assert done() == []


def test_damaged_sum_of_the_dead_is_begun_again(folder: Path) -> None:
    (folder / "counter_dead.db").write_bytes(b"")
    count_in(folder, DEAD_PID)
    fold()
    assert done() == ["done_total 1.0"]


def test_metrics_survive_a_file_that_a_killed_worker_left_empty(start_service: StartService) -> None:
    port = free_port()
    service = start_service(workers=1, OPS_PORT=port)
    httpx.get(f"{service.url}/nowhere")
    metrics = next(service.home.rglob("metrics/*"))
    (metrics / "counter_999999.db").touch()
    (metrics / "histogram_999998.db").write_bytes(DAMAGE["cut in a key"])
    for url in (service.url, f"http://127.0.0.1:{port}"):
        assert total(url, "http_requests_total", route="unmatched") == 1
    os.kill(service.worker_pids()[0], signal.SIGKILL)
    eventually(lambda: total(f"http://127.0.0.1:{port}", "worker_exits_total", cause="died") == 1)
    assert total(f"http://127.0.0.1:{port}", "http_requests_total", route="unmatched") == 1


def test_counts_outlive_a_change_of_masters(start_service: StartService) -> None:
    """SIGUSR2: the workers of both masters count, and the deaths of either take nothing away."""
    service = start_service(workers=2)
    for _ in range(20):
        httpx.get(f"{service.url}/nowhere", verify=False)
    old = set(service.worker_pids())

    def counted() -> float:
        return total(service.url, "http_requests_total", route="unmatched")

    def gauges() -> int:
        return len({dict(labels)["pid"] for name, labels in samples(service.url) if name == "worker_cpu_cores"})

    os.kill(service.pid, signal.SIGUSR2)
    eventually(lambda: gauges() == 4, within_s=20)
    assert counted() == 20
    (new,) = set(service.worker_pids()) - old
    os.kill(min(old), signal.SIGKILL)
    os.kill(max(child.pid for child in psutil.Process(new).children()), signal.SIGKILL)
    eventually(lambda: gauges() == 4)
    assert counted() == 20
    os.kill(new, signal.SIGTERM)
    eventually(lambda: new not in service.worker_pids() and gauges() == 2)
    assert counted() == 20
