"""What a load needs, from costs in the files that the bench and the proof write; and a simulation that knows its theory."""

import json
import re
from pathlib import Path

import pytest

from proof.bench.figures import Figure
from proof.bench.report import Report, as_json
from proof.bench.sample import Sample, Series
from proof.capacity import check
from proof.capacity.__main__ import main
from proof.capacity.costs import DEFAULTS, read_costs
from proof.capacity.model import Boxes, Load, plan, walk
from proof.capacity.simulation import Outcome, Scene, Work, simulate
from proof.prove import window as prove
from proof.prove.experiment import Scope
from proof.prove.machine import Machine
from proof.prove.proof import Options, Proof
from proof.prove.usl import Law

MILLION = Load(redirects_per_second=1e6, creates_per_second=1e3)


def bench_file(folder: Path, *, cpu_us: float) -> Path:
    sample = Sample(requests_per_s=1e6 / cpu_us, cpu_us=cpu_us, backends_us=3.0, p50_ms=1, p99_ms=2, errors=0)
    report = Report(
        {"redirect": {"ours": Series([sample]), "textbook": Series([sample])}},
        [Figure("memory of a worker (PSS, 4 workers), ours", 44.0, "MiB")],
        {},
    )
    path = folder / "bench.json"
    path.write_text(json.dumps(as_json(report)))
    return path


def test_costs_are_those_of_the_file_and_say_so(tmp_path: Path) -> None:
    costs = read_costs([bench_file(tmp_path, cpu_us=25.0)])
    assert (costs["redirect_us"].value, costs["redirect_us"].source) == (25.0, "bench.json")
    assert (costs["redis_us"].value, costs["worker_mb"].value) == (3.0, 44.0)
    assert costs["create_us"] == DEFAULTS["create_us"]


def test_costs_of_a_proof_are_found(tmp_path: Path) -> None:
    none, held = (
        prove.Sample(name, 1, 0.5, memory_mb=memory_mb, connected=connected)
        for name, memory_mb, connected in (("no connections", 70.0, 0), ("idle connections", 80.0, 1000))
    )
    proof = Proof(
        made_at="",
        took_s=0,
        machine=Machine(2, "", ""),
        options=Options(),
        scope=Scope((1, 2), most=2, users=1, seconds=1, connections=1000, lane_bound=17),
        results={"connections": {none.window: [none], held.window: [held]}},
        claims={},
        law=Law(40.0, 0.25, None, 0.0, 2),
    )
    (tmp_path / "proof.json").write_text(proof.to_json())
    costs = read_costs([tmp_path / "proof.json"])
    assert costs["contention"].value == 0.25
    assert costs["connection_kb"].value == pytest.approx(10.5, abs=0.1)
    assert costs["connection_kb"].source == "proof.json"


def test_twice_the_cost_is_twice_the_workers_and_the_connections(tmp_path: Path) -> None:
    boxes = Boxes()
    dear, cheap = (
        plan(Load(redirects_per_second=1e6, miss_share=0), read_costs([bench_file(tmp_path, cpu_us=us)]), boxes)
        for us in (100.0, 50.0)
    )
    assert dear.workers == pytest.approx(2 * cheap.workers, abs=1)
    assert dear.postgres_connections == 2 * dear.workers
    assert dear.redis_shards == cheap.redis_shards


def test_walk_ends_at_the_load_and_each_step_needs_no_less() -> None:
    steps = list(walk(MILLION, DEFAULTS, Boxes()))
    assert steps[-1].load == MILLION
    assert [step.load.redirects_per_second for step in steps] == [1e3, 1e4, 1e5, 1e6]
    for name in ("workers", "boxes", "pods", "memory_gb", "redis_shards", "network_gbit", "postgres_cpus"):
        values = [getattr(step, name) for step in steps]
        assert values == sorted(values)


@pytest.mark.parametrize(
    ("load", "boxes", "name"),
    [
        (MILLION, Boxes(cpus=1), "workers"),
        (MILLION, Boxes(cpus=512, network_gbit=1), "network"),
        (MILLION, Boxes(cpus=512), "Redis CPU"),
        (Load(redirects_per_second=1e4, links=10**9), Boxes(), "Redis memory"),
        (MILLION, Boxes(cpus=512, redis_clients=100), "Redis clients"),
        (Load(creates_per_second=1e4), Boxes(postgres_cpus=1, postgres_connections=1000), "Postgres CPU"),
        (MILLION, Boxes(cpus=512, postgres_connections=20), "Postgres connections"),
    ],
)
def test_bottleneck_is_what_is_scarce(load: Load, boxes: Boxes, name: str) -> None:
    found = plan(load, DEFAULTS, boxes).bottleneck
    assert found.name == name
    assert found.mend


def test_clicks_are_late_where_many_links_are_popular() -> None:
    few, many = (
        plan(Load(redirects_per_second=1e6, popular=count), DEFAULTS, Boxes()).clicks_after_s
        for count in (1_000, 1_000_000)
    )
    assert few == 0.5
    assert many > 2


def rate(outcome: Outcome) -> float:
    return outcome.per_second


def test_one_worker_does_what_its_core_does() -> None:
    outcome = simulate(Scene(workers=1, users=8, cores=2), Work(generator_ms=0, worker_ms=0.5, backend_ms=0))
    assert rate(outcome) == pytest.approx(2000, rel=0.03)
    assert outcome.p50_ms == pytest.approx(8 / 2000 * 1000, rel=0.05)  # Little's law


@pytest.mark.parametrize(("cores", "times"), [(1, 1.0), (2, 2.0)])
def test_second_worker_helps_where_there_is_a_core_for_it(cores: int, times: float) -> None:
    work = Work(generator_ms=0, worker_ms=0.5, backend_ms=0)
    one, two = (rate(simulate(Scene(workers=count, users=16, cores=cores), work)) for count in (1, 2))
    assert two / one == pytest.approx(times, rel=0.03)


def test_cores_are_shared_with_the_generator_and_the_backend() -> None:
    work = Work(generator_ms=0.2, worker_ms=0.5, backend_ms=0.1)
    outcome = simulate(Scene(workers=2, users=32, cores=2), work)
    assert rate(outcome) == pytest.approx(2 / 0.8e-3, rel=0.05)


def test_what_others_take_of_the_machine_is_not_ours() -> None:
    work = Work(generator_ms=0, worker_ms=0.5, backend_ms=0)
    outcome = simulate(Scene(workers=2, users=32, cores=2, others_cores=0.5, seconds=4), work)
    assert rate(outcome) == pytest.approx(1.5 / 0.5e-3, rel=0.05)


def test_lanes_of_two_workers_run_beside_each_other_as_fast_as_the_cores_do() -> None:
    work = Work(generator_ms=0, worker_ms=0, backend_ms=0, lane_ms=20)
    one = rate(simulate(Scene(workers=1, users=4, cores=2, crowded=0.9, seconds=10), work))
    two = rate(simulate(Scene(workers=2, users=8, cores=2, crowded=0.9, seconds=10), work))
    assert two / one == pytest.approx(1.8, rel=0.03)


def test_command_prints_the_walk_and_what_it_assumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    costs = str(bench_file(tmp_path, cpu_us=25.0))
    assert main(["--redirects-per-second", "1e6", "--creates-per-second", "1e3", "--costs", costs]) == 0
    said = capsys.readouterr().out
    assert "1,000,000/s" in said
    assert "bottleneck" in said
    assert re.search(r"redirect_us\s+│ 25 us\s+│ bench\.json", said)
    assert re.search(r"create_us\s+│ 780 us\s+│ default", said)


@pytest.mark.parametrize(
    ("arguments", "says"), [([], "There is no load"), (["--costs", "pyproject.toml"], "capacity: ")]
)
def test_command_says_in_a_sentence_what_it_lacks(arguments: list[str], says: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert says in str(ended.value)


@pytest.mark.parametrize(
    ("option", "number"),
    [
        ("--redirects-per-second", "inf"),
        ("--redirects-per-second", "nan"),
        ("--redirects-per-second", "-1"),
        ("--redirects-per-second", "1e400"),
        ("--cpus", "0.5"),
        ("--popular", "0"),
        ("--backend-share", "0"),
        ("--miss-share", "5"),
        ("--links", "many"),
    ],
)
def test_command_refuses_numbers_of_which_nothing_follows(
    option: str, number: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--creates-per-second", "1", option, number])
    assert ended.value.code == 2
    assert f"argument {option}: must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"rounds": {}}', '{"rounds": {"read": {"ours": [{}]}}, "figures": []}']
)
def test_costs_of_half_a_file_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"bench\.json is no proof"):
        read_costs([path])


@pytest.mark.drives("links", "lab")
def test_check_puts_simulation_and_measurement_side_by_side(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "USERS", (16,))
    assert main(["--check", "--seconds", "1", "--tries", "1"]) in {0, 1}  # whether they agree is this machine's affair
    told = capsys.readouterr().out
    assert (told.count("redirect "), told.count("CPU job")) == (2, 2)
