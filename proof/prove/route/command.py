"""`--route`: what it prints, and what it keeps, so that the next run shows the difference."""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from local.process import LocalError
from proof.prove.own_service import ROOT
from proof.prove.route.measured import Findings
from proof.prove.route.route import Route
from proof.prove.route.run import Asked, Step, measure_routes
from proof.prove.route.verdict import Verdict, judge
from proof.prove.words import number


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("a route of yours").add_argument
    add(
        "--route", action="append", metavar="'GET /notes'", help="measure this route, and nothing else; may be repeated"
    )
    add("--key", default="", help="API key that the route wants")
    add("--body", default="", help="JSON body of each request")
    add("--project", type=Path, default=ROOT, metavar="DIR", help="serve this project instead: one that make new made")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="variable of the service; may be repeated")


def prove_routes(given: argparse.Namespace, console: Console, step: Step) -> int:
    routes = [Route.parse(text, given.key, given.body) for text in given.route]
    asked = Asked(
        routes,
        given.workers or (),
        seconds=given.seconds or (0.8 if given.quick else Asked.seconds),
        rounds=given.repeat or (1 if given.quick else Asked.rounds),
        project=given.project.resolve(),
        variables=dict(_variable(text) for text in given.set),
        host=given.host,
        ops_url=given.ops_url,
    )
    kept = given.out / "routes.json"
    before: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    now = {}
    for route, found in zip(routes, measure_routes(asked, step), strict=True):
        verdict = judge(route, found)
        now[str(route)] = _kept(found, verdict)
        _print(route, found, verdict, before.get(str(route)), console)
    given.out.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(before | now, indent=1))
    return 0


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise LocalError(f"--set takes NAME=VALUE, and {text!r} is none.")
    return name, value


def _kept(found: Findings, verdict: Verdict) -> dict[str, Any]:
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        **asdict(verdict),
        "answers_per_second": round(found.first.rate, 1),
        "took_ms": found.took_ms,
        "at_once": round(found.at_once, 1),
        "ping_ms": found.first.ping_ms,
        "cpu_ms": found.cpu_ms._asdict(),
        "scaling": list(scaling(found)),
    }


def _print(route: Route, found: Findings, verdict: Verdict, before: dict[str, Any] | None, console: Console) -> None:
    def say(text: str) -> None:
        console.print(f"  {escape(text)}", soft_wrap=True)

    console.print(f"[bold]{escape(str(route))}[/]: [bold]{escape(verdict.kind)}[/]")
    say(verdict.says)
    for sentence in (*verdict.evidence, *scaling(found)):
        say(f"- {sentence}")
    say(f"To change it: {verdict.change}.")
    if verdict.see:
        say(f'See the same difference: make prove ARGS="--only {verdict.see}"; afterwards run this command again.')
    if before:
        say(
            f"Before, {before['measured_at']}: {before['kind']}, {number(before['at_once'])} at once, "
            f"{number(before['answers_per_second'])} answers a second; now {number(found.at_once)} at once and "
            f"{number(found.first.rate)}."
        )
    if found.first.starved > 1:
        say(
            f"The machine was busy: our processes waited for {found.first.starved:.1f} cores. Trust the kind, not the rates."
        )
    console.print()


def scaling(found: Findings) -> Iterator[str]:
    """Yield what more workers add, one sentence for each number of them."""
    few = min(found.company)
    for count, many in found.company.items():
        if count != few and found.first.rate:
            times = many.rate / found.first.rate
            yield (
                f"{count} workers, {many.users} users: {number(many.rate)} answers a second, {times:.2f} times those of "
                f"{few} ({times * few / count:.0%} of ideal)"
            )
