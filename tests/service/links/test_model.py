"""The whole API on a running service, against a model that is a dict: whatever is asked in whatever order, also while workers
are killed and replaced, the two say the same; and at the end every click has been counted once.
"""

import itertools
import os
import re
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO

import httpx
import psutil
import pytest
import zxingcpp
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule, run_state_machine_as_test
from PIL import Image

from tests.brigade.ops.test_ops import eventually
from tests.conftest import StartService
from tests.length import TIMES
from tests.running import RunningService
from tests.service.links.test_urls import AS_SENT, REFUSED

KEY = "for-the-fuzz"
BRIEF_S = 0.4

codes = st.text("abAB01-_", min_size=4, max_size=5)
"""Few enough that they meet."""
strange = (codes.map(lambda code: code[:3]) | st.text(max_size=8) | st.just("x" * 33)).filter(
    lambda code: not re.fullmatch("[A-Za-z0-9_-]{4,32}", code)
)


@dataclass
class Link:
    url: str
    expires_at: datetime | None
    clicks: int = 0

    def has_expired(self, at: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= at


class Api(RuleBasedStateMachine):
    """One example after the other on the same service, each with codes of its own."""

    service: RunningService
    client: httpx.Client
    left: dict[str, Link]
    """The links of all examples."""
    numbers = itertools.count()

    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        number = next(self.numbers)
        self.prefix = f"{number}_"
        self.links: dict[str, Link] = {}
        """In the order in which they were made."""
        self.disturb(number)

    def full(self, code: str) -> str:
        return code if code in self.links else self.prefix + code

    def send(self, method: str, path: str, **options: object) -> httpx.Response:
        """On a machine that is short of CPU a backend may be late; what was answered 503 may have been done all the same."""
        patience_s = time.monotonic() + 10
        self.in_doubt = False
        while True:
            answer = self.client.request(method, path, **options)  # type: ignore[arg-type]
            if answer.status_code != 503 or time.monotonic() > patience_s:
                return answer
            time.sleep(0.2)
            if method == "POST":
                self.undo()
            self.in_doubt = True

    def undo(self) -> None:
        """Delete the newest link, if it is not one that we know of."""
        headers = {"X-API-Key": KEY}
        for link in self.send("GET", "/links?limit=1", headers=headers).json()["items"]:
            if link["code"] not in self.left:
                self.send("DELETE", f"/links/{link['code']}", headers=headers)

    def ask(self, method: str, path: str, *, key: bool = False, **options: object) -> httpx.Response:
        headers = {"X-API-Key": KEY} if key else {}
        answer = self.send(method, path, headers=headers, **options)
        assert answer.status_code < 500, answer.text
        if answer.is_error:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["status"] == answer.status_code
        return answer

    @rule(
        target=known,
        code=codes | st.none(),
        url=st.sampled_from(AS_SENT),
        brief=st.integers(0, 4).map(lambda n: n == 3),
    )
    def create(self, code: str | None, url: str, brief: bool) -> str:
        new: dict[str, object] = {"url": url}
        code = code and self.prefix + code
        expires_at = datetime.fromtimestamp(time.time() + BRIEF_S, UTC) if brief else None
        if code is not None:
            new["code"] = code
        if expires_at:
            new["expires_at"] = expires_at.isoformat()
        answer = self.ask("POST", "/links", key=True, json=new)
        if code in self.links:
            assert answer.status_code == 409
            return str(code)
        if answer.status_code == 422 and expires_at and datetime.now(UTC) > expires_at:
            return code or "none"  # it took so long to get there
        assert answer.status_code == 201, answer.text
        made = answer.json()
        assert (made["url"], made["clicks"]) == (url, 0)
        assert code in {None, made["code"]}
        assert answer.headers["location"].endswith(f"/links/{made['code']}")
        self.links[made["code"]] = self.left[made["code"]] = Link(url, expires_at)
        return str(made["code"])

    @initialize(target=known, url=st.sampled_from(AS_SENT))
    def begin(self, url: str) -> str:
        return str(self.create(None, url, brief=False))

    @rule(url=st.sampled_from(REFUSED), code=codes, no_code=strange, kind=st.integers(0, 4))
    def ask_what_is_refused(self, url: str, code: str, no_code: str, kind: int) -> None:
        match kind:
            case 0:
                with suppress(UnicodeEncodeError):
                    assert self.ask("POST", "/links", key=True, json={"url": url, "code": code}).status_code == 422
            case 1:
                new = {"url": AS_SENT[0], "code": no_code}
                assert self.ask("POST", "/links", key=True, json=new).status_code == 422
            case 2:
                assert self.ask("POST", "/links", json={"url": AS_SENT[0], "code": code}).status_code == 401
            case 3:
                assert self.ask("DELETE", f"/links/{self.full(code)}").status_code == 401
            case _:
                assert self.ask("GET", "/links").status_code == 401

    @rule(code=known, methods=st.lists(st.sampled_from(["GET", "GET", "HEAD"]), min_size=1, max_size=6))
    def follow(self, code: str, methods: list[str]) -> None:
        for method in methods:
            self.follow_once(self.full(code), method)

    @rule(code=codes)
    def follow_a_guess(self, code: str) -> None:
        self.follow_once(self.full(code), "GET")

    def follow_once(self, code: str, method: str) -> None:
        link, before = self.links.get(code), datetime.now(UTC)
        answer = self.send(method, f"/r/{code}")
        if link is None:
            assert answer.status_code == 404
        elif answer.status_code == 307:
            assert answer.headers["location"] == link.url
            assert not link.has_expired(before)
            link.clicks += method == "GET"
        else:
            assert answer.status_code == 410
            assert link.has_expired(datetime.now(UTC))

    @rule(code=known)
    def read(self, code: str) -> None:
        code = self.full(code)
        answer, link = self.ask("GET", f"/links/{code}"), self.links.get(code)
        if link is None:
            assert answer.status_code == 404
        else:
            assert answer.json()["url"] == link.url
            assert answer.json()["clicks"] <= link.clicks

    @rule(code=known, form=st.sampled_from(["svg", "png"]))
    def draw(self, code: str, form: str) -> None:
        code = self.full(code)
        link, before = self.links.get(code), datetime.now(UTC)
        answer = self.ask("GET", f"/links/{code}/qr?format={form}")
        if link is None:
            assert answer.status_code == 404
        elif answer.status_code == 410:
            assert link.has_expired(datetime.now(UTC))
        else:
            assert not link.has_expired(before)
            if form == "png":
                (barcode,) = zxingcpp.read_barcodes(Image.open(BytesIO(answer.content)))
                assert barcode.text.endswith(f"/r/{code}")

    @rule(code=codes)
    def delete_a_guess(self, code: str) -> None:
        self.delete_once(self.full(code))

    @rule(code=consumes(known))
    def delete(self, code: str) -> None:
        self.delete_once(code)

    def delete_once(self, code: str) -> None:
        there = self.links.pop(code, None)
        self.left.pop(code, None)
        status = self.ask("DELETE", f"/links/{code}", key=True).status_code
        assert status == (204 if there else 404) or (status == 404 and self.in_doubt)
        assert self.ask("GET", f"/r/{code}").status_code == 404

    @rule(limit=st.integers(1, 7))
    def list_pages(self, limit: int) -> None:
        listed: list[str] = []
        after = ""
        while len(listed) < len(self.links):
            page = self.ask("GET", f"/links?limit={limit}{after}", key=True).json()
            listed += [link["code"] for link in page["items"]]
            assert len(page["items"]) <= limit
            after = f"&after={page['next']}"
            if page["next"] is None:
                break
        assert listed[: len(self.links)] == list(self.links)[::-1]

    @rule()
    def wait_until_brief_links_expire(self) -> None:
        time.sleep(BRIEF_S / 4)

    def teardown(self) -> None:
        for code in self.links:
            self.follow_once(code, "GET")

    def disturb(self, number: int) -> None:
        """Kill a worker before every sixteenth example, and reload them all during another."""
        if number % 16 == 2:
            victim = psutil.Process(self.service.worker_pids()[0])
            victim.kill()
            psutil.wait_procs([victim], timeout=10)
        elif number % 16 == 10:
            os.kill(self.service.pid, signal.SIGHUP)


@pytest.mark.fuzz
@pytest.mark.timeout(300 * TIMES)
def test_service_and_model_say_the_same(start_service: StartService) -> None:
    service = start_service(workers=2, API_KEYS=f"fuzz:{KEY}", CPU_LANE_QUEUE=100)
    # A connection for each request, so that every worker is asked and none is waited for that is gone.
    with httpx.Client(base_url=service.url, headers={"Connection": "close"}, timeout=30) as client:
        Api.service, Api.client, Api.left = service, client, {}
        run_state_machine_as_test(
            Api,
            settings=hypothesis_settings(
                max_examples=12 * TIMES,
                stateful_step_count=40,
                deadline=None,
                phases=[Phase.generate],  # the service keeps what was done, so that a shorter way is another way
                suppress_health_check=list(HealthCheck),
            ),
        )
        expected = {code: link.clicks for code, link in Api.left.items()}
        assert any(expected.values())

        def counted() -> dict[str, int]:
            answers = {code: client.get(f"/links/{code}") for code in expected}
            return {code: answer.json()["clicks"] for code, answer in answers.items() if answer.status_code != 503}

        eventually(lambda: counted() == expected, within_s=20)
        time.sleep(1)
        again = counted()
        assert again == {code: expected[code] for code in again}, "a click was counted twice"
    assert "Traceback" not in service.log()
