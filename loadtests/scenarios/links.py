"""How does the service do in its everyday work: mostly redirects, and a little of everything else?

    locust -f loadtests/scenarios/links.py --host http://127.0.0.1:8000 --users 200 --spawn-rate 20 --urls my-urls.txt

Links are followed by Zipf's law: the second most popular half as often as the first, the third a third as often. Without
`--urls` the links lead to made-up addresses.
"""

import random

from locust import between, events, task
from locust.exception import StopUser

from loadtests.options import option, read_urls
from loadtests.visitor import Ping, Visitor

__all__ = ["Everyday", "Ping"]

WORDS = ["about", "archive", "blog", "docs", "download", "en", "help", "install", "news", "project", "search", "wiki"]
KEPT: list[tuple[str, str]] = []
"""Code and URL of the links that stay, the most popular first: shared by all users of this process."""


@events.test_start.add_listener
def forget(**_: object) -> None:
    KEPT.clear()  # the service may have another database since


class Everyday(Visitor):
    """How does the service do in its everyday work: mostly redirects, and a little of everything else?

    50 users follow links, and now and then make, list, delete or draw one. Look for redirects (`/r/{code}`) that stay quick
    while QR codes are drawn beside them, for workers that have about the same to do, and for a CPU that is far from full.
    """

    does = "everyday work"
    wait_time = between(0.1, 0.5)

    def on_start(self) -> None:
        urls = option(self.environment, "urls")
        self.headers = self.key_headers()
        self.urls = read_urls(urls) if urls else []
        self.own: list[str] = []
        KEPT.extend(self.make_link() for _ in range(option(self.environment, "links_each")))

    @task(80)
    def follow(self) -> None:
        # The power of a uniform number falls below r with a chance of log r / log n: that is Zipf's law.
        code, url = KEPT[int(len(KEPT) ** random.random()) - 1]
        self.ask(f"/r/{code}", name="/r/{code}", expect=(307,), location=url)

    @task(6)
    def read(self) -> None:
        self.ask(f"/links/{random.choice(KEPT)[0]}", name="/links/{code}")

    @task(4)
    def create(self) -> None:
        self.own.append(self.make_link()[0])

    @task(4)
    def draw(self) -> None:
        self.ask(f"/links/{random.choice(KEPT)[0]}/qr", name="/links/{code}/qr", expect=(200, 503))

    @task(2)
    def list_newest(self) -> None:
        self.ask("/links?limit=20", name="/links", headers=self.headers)

    @task(2)
    def delete(self) -> None:
        if self.own:
            code = self.own.pop()
            self.ask(f"/links/{code}", method="DELETE", name="/links/{code}", headers=self.headers, expect=(204,))

    def make_link(self) -> tuple[str, str]:
        url = random.choice(self.urls) if self.urls else make_up_url()
        made = self.ask("/links", method="POST", json={"url": url}, headers=self.headers, expect=(201,))
        if made.status_code != 201:
            raise StopUser
        return made.json()["code"], url


def make_up_url() -> str:
    path = "/".join(random.choices(WORDS, k=random.randint(0, 4)))
    query = f"?id={random.randrange(10**6)}" if random.random() < 0.3 else ""
    return f"https://{random.choice(WORDS)}{random.randrange(1000)}.example.org/{path}{query}"
