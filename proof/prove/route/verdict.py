"""Names the kind of a route: the first description that the findings support. It measures and prints nothing."""

from collections.abc import Callable
from dataclasses import dataclass

from proof.prove.evidence import REFUSALS, STARVED
from proof.prove.route.measured import Findings
from proof.prove.route.places import place_of
from proof.prove.route.route import Route
from proof.prove.words import number

UNTOLD = "cannot be told"
COMPUTES_MS = 3.0
"""CPU time of a request that is more than what any request costs."""
COMPUTES_SHARE = 0.3
BLOCKED_SHARE = 0.3
OVERLAPS = 0.5
"""Share of the users whose requests are under way at once."""
HELD = 0.7
"""Requests under way at once behind a lock of one place, at least: it is hardly ever free while many want it."""
REPEATED = 5
FULL_SHARE = 0.25
"""Share of the looks at /workers. It is low because a busy machine delays the looks."""

PLACES = {
    "on the loop": ("make the route a plain `def` under `@on_cpu_lane`", "placement"),
    "in the thread pool": ("put `@on_cpu_lane` under the route, so that one thread at a time wants Python's lock", "placement"),
    "in the CPU lane": ("nothing up to a second; make longer work a job (`brigade.job`)", "placement"),
    "in a process": ("nothing; each process costs about 60 MB", "placement"),
}  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    kind: str
    says: str
    change: str
    see: str
    """The experiment of this proof that shows the same difference."""
    evidence: tuple[str, ...] = ()


def judge(route: Route, found: Findings) -> Verdict:
    return next(verdict for ask in QUESTIONS if (verdict := ask(route, found)))


def _answers(_: Route, found: Findings) -> Verdict | None:
    statuses = found.alone.statuses
    if found.alone.done:
        return None
    said = ", ".join(f"{count} times {status}" for status, count in statuses.most_common(3)) or "nothing at all"
    why = next((reason for status, reason in REFUSALS.items() if status in statuses), "it gave no answer in the window")
    return Verdict(UNTOLD, f"The route answered {said}: {why}.", "try --key, --body or --seconds", "")


def _blocks(route: Route, found: Findings) -> Verdict | None:
    if computes(found, "loop") or found.cause(route.bare_path) == "cpu on the loop":
        return None
    held = found.blocked_share(route.bare_path)
    is_told = found.cause(route.bare_path) == "blocking call" or not found.alone.seen.is_local
    in_turn = is_told and found.at_once < 1.5 and found.first.ping_ms > found.took_ms
    if held < BLOCKED_SHARE and not in_turn:
        return None
    return Verdict(
        "blocks the loop",
        f"It blocks the event loop{place_of(route, found, 'blocking call')}: everyone else waits meanwhile.",
        "await an async version of that call, or make the route a plain `def`",
        "freezing",
        (
            f"the watchdog saw it hold the loop for {held:.0%} of the time of one user",
            f"a ping beside {found.first.users} users takes {number(found.first.ping_ms)} ms, beside nobody "
            f"{number(found.quiet.ping_ms)} ms",
        ),
    )


def _repeats(_: Route, found: Findings) -> Verdict | None:
    text, times = max(found.statements().items(), key=lambda each: each[1], default=("", 0.0))
    if times < REPEATED:
        return None
    return Verdict(
        "asks Postgres again and again",
        f"One request sends the same statement {times:.0f} times (N+1 queries).",
        "fetch all rows in one statement: a JOIN, or `WHERE id = ANY($1)`",
        "overlap",
        (f"`{text[:160]}`", f"{sum(found.statements().values()):.0f} statements a request in all"),
    )


def computes(found: Findings, where: str) -> bool:
    """Whether a request computes for much of the time in which it could have a core."""
    cpu = found.cpu_ms
    spent, starved = getattr(cpu, where), getattr(cpu, f"{where}_starved")
    least_ms = found.mean_ms / 3 if where == "threads" else spent  # many threads starve, and one of them matters
    share = spent / max(1e-6, found.mean_ms - starved, least_ms)
    return bool(spent >= COMPUTES_MS and share >= COMPUTES_SHARE and spent >= cpu.total / 2)


def _computes(route: Route, found: Findings) -> Verdict | None:
    cpu = found.cpu_ms
    on_loop = found.cause(route.bare_path) == "cpu on the loop" and cpu.loop >= COMPUTES_MS
    if not on_loop and not any(computes(found, where) for where in ("loop", "threads", "processes")):
        return None
    place = "on the loop"
    if computes(found, "processes"):
        place = "in a process"
    elif computes(found, "threads"):
        in_lane = found.first.seen.share(lambda worker: worker["cpu_lane"]["running"]) > FULL_SHARE
        place = "in the CPU lane" if in_lane else "in the thread pool"
    change, see = PLACES[place]
    line = place_of(route, found, "cpu on the loop") if place == "on the loop" else ""
    return Verdict(
        f"computes {place}",
        f"It computes for {number(cpu.total)} ms {place}{line}.",
        change,
        see,
        (
            f"CPU time of a request: {number(cpu.loop)} ms on the loop, {number(cpu.threads)} ms in threads, "
            f"{number(cpu.processes)} ms in processes, of {number(found.took_ms)} ms",
            f"a ping beside {found.first.users} users takes {number(found.first.ping_ms)} ms",
        ),
    )


def _waits_in_turn(_: Route, found: Findings) -> Verdict | None:
    """Its requests wait, and for one another."""
    first, took_ms = found.first, found.took_ms
    if found.at_once >= OVERLAPS * first.users:
        return None
    arithmetic = (
        f"{first.users} users get {number(first.rate)} answers a second, and one request takes {number(took_ms)} ms: "
        f"{number(found.at_once)} are under way at once (Little's law)"
    )
    if first.keeps_loop_busy:
        return Verdict(
            "limited by CPU",
            f"The event loop itself is the limit: {number(found.cpu_ms.loop)} ms of its CPU time a request.",
            "nothing if that is enough; more workers do more of them, up to the cores",
            "scaling",
            (arithmetic, f"the loop computed, or wanted to, for {first.cpu_cores().wanted:.0%} of the time"),
        )
    is_idle = found.at_once >= HELD and found.cpu_ms.total < COMPUTES_MS and first.starved < found.at_once
    is_short = found.at_once < OVERLAPS * first.users * first.idle_share
    if first.starved > STARVED and not is_idle and not is_short:
        return _too_busy("whether its requests wait for one another or for a core", first.starved, (arithmetic,))
    places = sum(worker["db_pool"]["max"] for worker in first.seen.workers[-first.workers :])
    full = first.seen.share(lambda worker: worker["db_pool"]["in_use"] >= worker["db_pool"]["max"])
    if full > FULL_SHARE and found.at_once > places / 2:
        return Verdict(
            "bound by the Postgres pool",
            f"It waits for a connection: {places} connections, held for {number(took_ms)} ms each, make at most "
            f"{number(places * 1000 / took_ms)} answers a second.",
            "hold a connection only while a statement runs, make the statement faster, or raise DB_CONNECTION_BUDGET",
            "overlap",
            (arithmetic, f"all {places} connections were in use in {full:.0%} of the looks at /workers"),
        )
    where = " in Postgres" if full > FULL_SHARE else ""
    return Verdict(
        "waits its turn",
        f"Its requests wait for one another: {number(found.at_once)} at once, behind a lock{where} or a pool of that size.",
        "hold the lock only around what needs it, or give each key a lock of its own",
        "awaiting",
        (arithmetic, f"all Postgres connections were in use in {full:.0%} of the looks at /workers"),
    )


def _too_busy(what: str, starved: float, evidence: tuple[str, ...]) -> Verdict:
    busy = f"The machine was too busy to tell {what}."
    evidence = (*evidence, f"our processes waited for {number(starved)} cores")
    return Verdict(UNTOLD, busy, "run this command again on a calmer machine", "", evidence)


def _waits(_: Route, found: Findings) -> Verdict:
    first, starved = found.first, max(found.alone.starved, found.first.starved)
    evidence = (
        f"{first.users} users: {number(found.at_once)} requests under way at once, a ping beside them takes "
        f"{number(first.ping_ms)} ms",
        f"CPU time of a request: {number(found.cpu_ms.total)} of {number(found.took_ms)} ms",
    )
    if found.cpu_ms.total >= COMPUTES_MS and starved > STARVED:
        return _too_busy("whether a request waits or computes", starved, evidence)
    peers = [peer for peer, _ in (found.alone.seen.peers + first.seen.peers).most_common(2)]
    if peers:
        says = f"It waits {number(found.took_ms)} ms, connected to {' and '.join(peers)}; its requests overlap."
        change = "give the call a time limit, ask for several things at once (`asyncio.TaskGroup`), cache the answer"
        return Verdict("waits for an upstream", says, change, "overlap", evidence)
    for_whom = " for Postgres" if sum(found.statements().values()) > OVERLAPS else ""
    says = f"It waits{for_whom}, and its requests overlap: the loop is free meanwhile."
    return Verdict("waits", says, "nothing; a second worker would add little", "awaiting", evidence)


QUESTIONS: tuple[Callable[[Route, Findings], Verdict | None], ...] = (
    _answers, _blocks, _repeats, _computes, _waits_in_turn, _waits,
)  # fmt: skip
