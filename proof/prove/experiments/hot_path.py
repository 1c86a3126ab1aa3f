"""Following a link waits for Redis and for nothing else: more users get more done, from the same one worker."""

from proof.prove.claims import Claim, at_least, figure, ratios
from proof.prove.evidence import Evidence, Results, rates
from proof.prove.experiment import Experiment, Scope
from proof.prove.window import Load, Window

USERS = (1, 32)


def _name(users: int) -> str:
    return f"{users} following"


def _windows(scope: Scope) -> list[Window]:
    path = f"/r/{scope.link}"
    return [Window(_name(users), scope.seconds, load=Load(path, users)) for users in USERS] if scope.link else []


def _judge(results: Results, scope: Scope) -> list[Claim]:
    names = [_name(users) for users in USERS]
    one, many = (rates(results, name) for name in names)
    return [
        Evidence(results, names).claim(
            "hot-path",
            "Nothing in the redirect blocks: one worker serves many users at once, not one after the other.",
            compares=f"redirects a second with {USERS[1]} users / with 1",
            bound=at_least(2.5),
            ratios=ratios(many, one),
            figures=[figure("1 user", one, "redirects/s"), figure(f"{USERS[1]} users", many, "redirects/s")],
            obstacles=[*scope.crowded, *([] if scope.link else ["no link could be made to follow"])],
        )
    ]


EXPERIMENTS = [Experiment("hot-path", "Does anything in the redirect block?", _windows, _judge)]
