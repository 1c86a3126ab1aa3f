"""The short form of the whole command, and that it tells a promise that is broken from one that is kept."""

import asyncio
import json
import socket
import struct
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import uvloop

from local.process import LocalError
from proof.bench.client import Connection, Result, get
from proof.chaos import drill, traffic
from proof.chaos.faults import FAULTS, Fault
from proof.chaos.hostile import ATTACKS
from proof.chaos.jobs import Runners, amid_jobs
from proof.chaos.outgoing import Seen, judge
from proof.chaos.overload import KEEPS, SECONDS, Climb, Wave
from proof.chaos.report import write
from proof.chaos.siege import Siege
from proof.chaos.soak import TOLERATED, lines, settled
from proof.chaos.stage import Stage, stage
from proof.chaos.traffic import Traffic
from tests.proof.conftest import ROOT


def chaos(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    command = [sys.executable, "-m", "proof.chaos", "--out", str(folder), *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False)
    return done, json.loads((folder / "chaos.json").read_text())


@pytest.mark.timeout(220)
def test_nothing_is_lost_and_every_click_is_counted_whatever_fails(tmp_path: Path) -> None:
    done, found = chaos(tmp_path, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr
    assert [fault["fault"] for fault in found["faults"]] == [fault.name for fault in FAULTS if fault.quick]
    for fault in found["faults"]:
        assert fault["answered"] > 100
        assert (fault["lost"], fault["wrong"], fault["broken"]) == (0, {}, [])
    assert "| SIGTERM, and a new start |" in (tmp_path / "chaos.md").read_text()


def test_every_click_of_an_outage_arrives_when_redis_is_back(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "proof.chaos", "--soak", "0.1", "--without", "redis", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    told = json.loads((tmp_path / "outage.json").read_text())
    assert told["counted"] == told["clicks"] > 1000, done.stdout + done.stderr
    assert "'lost'" not in done.stdout + done.stderr


def test_a_visitor_whose_connection_was_reset_unasked_asks_again() -> None:
    async def ask() -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            connection = await Connection.open(f"http://127.0.0.1:{server.getsockname()[1]}")
            accepted, _ = server.accept()
            accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            accepted.close()
            await asyncio.sleep(0.1)
            with pytest.raises(OSError, match="reset"):
                await connection.send(get("/"))

    uvloop.run(ask())


def test_the_page_tells_of_every_fault() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    assert [fault.name for fault in FAULTS if f"| {fault.name} |" not in page] == []


def test_the_makefile_counts_the_faults() -> None:
    assert f"in {len(FAULTS)} ways" in (ROOT / "Makefile").read_text()


@pytest.mark.parametrize(
    ("requests", "p99_ms", "statuses", "told"),
    [
        (150, 60.0, {504: 5, 503: 200}, None),
        (150, 900.0, {504: 5, 503: 200}, "p99"),
        (90, 60.0, {504: 5, 503: 200}, "served"),
        (150, 60.0, {504: 80}, "did not open"),
    ],
)
def test_a_host_that_takes_others_with_it_is_told(
    requests: int, p99_ms: float, statuses: dict[int, int], told: str | None
) -> None:
    calm = Seen({"another route": Result(150, 3.0, 2.0, 15.0, 20.0, 0)}, Counter({200: 300}))
    broken = Seen({"another route": Result(requests, 3.0, 2.0, p99_ms, p99_ms, 0)}, Counter(statuses))
    with pytest.raises(LocalError, match=told) if told else nullcontext():
        judge(calm, broken, opens=True)


def test_a_fault_that_this_machine_cannot_have_is_in_the_table_with_the_reason(tmp_path: Path) -> None:
    async def strike(_: Stage) -> None:
        raise AssertionError

    verdict = asyncio.run(
        drill.drill(Fault("flood", strike, why_not=lambda: "no water"), cast(Any, None), cast(Any, None))
    )
    write([verdict], tmp_path)
    assert "| flood | not run: no water |" in (tmp_path / "chaos.md").read_text()


def test_what_grows_is_told_from_what_is_flat() -> None:
    samples = [dict.fromkeys(TOLERATED, 100.0) | {"files": 100.0 + tick, "at": float(tick)} for tick in range(50)]
    assert [line.quantity for line in lines(samples) if not line.flat] == ["files"]


def test_a_worker_that_was_replaced_begins_anew() -> None:
    samples = [{"at": float(tick), "replacements": float(tick >= 60)} for tick in range(90)]
    assert [sample["at"] for sample in settled(samples)] == [float(tick) for tick in range(70, 90)]


def test_five_times_the_load_is_compared_with_the_best() -> None:
    """Also where the best was not the last that was tried."""
    waves = [
        Wave(rate, good_s=[0.01] * answered) for rate, answered in [(10.0, 40), (20.0, 80), (40.0, 60), (100.0, 71)]
    ]
    assert Climb("a route", waves).kept < KEEPS < Climb("another", [*waves[:-1], Wave(100.0, good_s=[0.01] * 73)]).kept


@pytest.mark.timeout(200)
def test_hostile_clients_of_every_kind_take_no_more_than_a_worker_has() -> None:
    command = [sys.executable, "-m", "proof.chaos", "--siege", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [name for name in ATTACKS if f" {name} " not in done.stdout] == []


def test_a_siege_that_took_too_much_is_told_from_one_that_did_not() -> None:
    kept = Siege("a", 30.0, peak_mb=90.0)
    broken = Siege("a", 30.0, peak_mb=190.0), replace(kept, unserved=1), replace(kept, endless=1)
    assert [siege.broken for siege in (kept, *broken)] == [False, True, True, True]


def test_a_broken_promise_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clicks that nobody made, a job whose result is lost, and a service that is gone."""
    monkeypatch.setattr(drill, "RECOVER_WITHIN_S", 3.0)
    monkeypatch.setattr(drill, "COUNTED_WITHIN_S", 3.0)
    monkeypatch.setattr(traffic, "PATIENCE_S", 2.0)

    async def count_too_many(stage: Stage) -> None:
        await stage.sql("UPDATE links SET clicks = clicks + 1 WHERE id = 1")

    async def leave(stage: Stage) -> None:
        await stage.kill()

    async def lose_a_file(stage: Stage, _: Runners) -> None:
        await stage.sql("UPDATE sheets SET file = NULL WHERE id = (SELECT min(id) FROM sheets WHERE file IS NOT NULL)")

    async def strike() -> list[list[str]]:
        async with stage(tmp_path / "log") as built, Traffic(built.url, built.codes) as visitors:
            built.jobs = 10
            faults = [Fault("cheat", count_too_many), Fault("jobs", amid_jobs(lose_a_file)), Fault("gone", leave)]
            return [(await drill.drill(fault, built, visitors)).broken for fault in faults]

    cheated, undone, gone = asyncio.run(strike())
    assert [len(cheated), "clicks were counted of" in cheated[0]] == [1, True]
    assert undone == ["Of 10 sheets, 9 were drawn; 1 sheets have no file and no job."]
    assert any("nobody listened" in broken for broken in gone)
    assert any("not well again" in broken for broken in gone)


def test_time_in_which_others_had_the_core_is_not_held_against_the_worker() -> None:
    climb = Climb("a route", [Wave(100.0, good_s=[0.01] * 80), Wave(100.0, good_s=[0.01] * 40, waited_s=SECONDS / 2)])
    assert climb.kept > KEEPS
