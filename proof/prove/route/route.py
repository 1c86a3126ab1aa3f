"""The route that is measured: its request, and the loads made of it."""

from dataclasses import dataclass, field

from local.process import LocalError
from proof.prove.window import Load

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


@dataclass(frozen=True)
class Route:
    method: str
    path: str
    key: str = field(default="", repr=False)
    body: str = ""

    @classmethod
    def parse(cls, text: str, key: str = "", body: str = "") -> "Route":
        method, _, path = text.strip().rpartition(" ")
        method = method.strip().upper() or "GET"
        if method not in METHODS or not path.startswith("/"):
            raise LocalError(f"A route is a method and a path, as in 'GET /notes', and {text!r} is none.")
        return cls(method, path, key, body)

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def bare_path(self) -> str:
        return self.path.partition("?")[0]

    def load(self, users: int, *, placed: bool) -> Load:
        headers = [("Authorization", f"Bearer {self.key}")] if self.key else []
        headers += [("Content-Type", "application/json")] if self.body else []
        return Load(self.path, users, placed=placed, method=self.method, headers=tuple(headers), body=self.body)
