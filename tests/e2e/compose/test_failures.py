"""Things die under a steady load through the proxy. Each time the service is back by itself, and nothing is lost."""

import os
import signal
import time
from collections.abc import Callable

import pytest

from tests.e2e.compose.load import FOLLOW, Load
from tests.e2e.compose.stack import Stack, eventually

WARM_S = 1.5


def under_load(stack: Stack, event: Callable[[], object], *, within_s: float = 30.0) -> Load:
    with Load(stack.url) as load:
        time.sleep(WARM_S)
        event()
        happened = time.monotonic()
        eventually(lambda: load.succeeds(after=happened), within_s=within_s)
    return load


def links_of(stack: Stack, load: Load) -> dict[str, int]:
    """Clicks of each link that was created, by its code; one that cannot be read yet is missing. None is lost."""
    answers = {code: stack.get(f"/links/{code}") for code in load.codes}
    assert {answer.status_code for answer in answers.values()} <= {200, 503}
    return {code: answer.json()["clicks"] for code, answer in answers.items() if answer.status_code == 200}


def assert_all_there(stack: Stack, load: Load, *, again: int = 0) -> None:
    """`again`: requests whose answer was lost on its way, and that the proxy or nobody has asked again."""
    unanswered = sum(outcome.what == FOLLOW for outcome in load.lost) + again

    def counted() -> bool:
        clicks = links_of(stack, load)
        return clicks.keys() == set(load.codes) and all(clicks[code] >= load.followed[code] for code in clicks)

    eventually(counted)
    surplus = sum(links_of(stack, load).values()) - load.followed.total()
    assert 0 <= surplus <= unanswered


def pid_on_host(stack: Stack, container: str) -> int:
    pid: int = stack.inspect(container)["State"]["Pid"]
    return pid


def kill_a_worker(stack: Stack) -> None:
    worker = stack.workers()["workers"][0]["pid"]
    stack.execute(stack.container("api"), "python", "-c", f"import os; os.kill({worker}, 9)")


def test_killed_worker_is_replaced(stack: Stack) -> None:
    load = under_load(stack, lambda: kill_a_worker(stack))
    assert len(load.lost) <= load.clients
    assert_all_there(stack, load, again=load.clients)


def test_crashed_container_starts_again(stack: Stack) -> None:
    container = stack.container("api")
    load = under_load(stack, lambda: os.kill(pid_on_host(stack, container), signal.SIGKILL))
    assert len(load.lost) <= load.clients
    eventually(lambda: stack.inspect(container)["State"]["Health"]["Status"] == "healthy")
    assert_all_there(stack, load, again=load.clients)


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_links_resolve_while_postgres_is_away_and_all_are_there_after(stack: Stack, how: str) -> None:
    load = under_load(stack, lambda: away(stack, "postgres", how))
    assert_all_there(stack, load)
    assert {outcome.status for outcome in load.lost} <= {503}


def test_links_resolve_while_redis_is_away_and_clicks_are_counted(stack: Stack) -> None:
    load = under_load(stack, lambda: away(stack, "redis", "restart"))
    assert not load.lost
    assert_all_there(stack, load)


def away(stack: Stack, service: str, how: str) -> None:
    container = stack.container(service)
    if how == "restart":
        stack.run("docker", "restart", container)
    else:
        os.kill(pid_on_host(stack, container), signal.SIGKILL)
    eventually(lambda: stack.inspect(container)["State"].get("Health", {}).get("Status") == "healthy")
