"""The settings about callers: the keys they may have, and how much each may ask."""

import hashlib
import re
from typing import NamedTuple

NO_KEY = hashlib.sha256().digest()
MOST_A_SECOND = 100_000
PERIODS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}


class ApiKey:
    """A key known by its SHA-256 only; `id` is what logs may say."""

    def __init__(self, entry: str) -> None:
        name, colon, secret = entry.partition(":")
        if not colon or name == "sha256":
            name, secret = "", entry
        elif not re.fullmatch("[A-Za-z0-9_.-]{1,32}", name):
            raise ValueError("an id is 1 to 32 of A-Za-z0-9_.-, as logs will say it")
        if not re.fullmatch("[!-~]+", secret):
            raise ValueError("an entry is 'key', 'id:key' or 'id:sha256:<hex>', in ASCII and without spaces")
        if secret.startswith("sha256:"):
            if not re.fullmatch(r"sha256:[0-9a-fA-F]{64}", secret):
                raise ValueError("an entry after 'sha256:' is 64 hexadecimal digits")
            self.digest = bytes.fromhex(secret.removeprefix("sha256:"))
        else:
            self.digest = hashlib.sha256(secret.encode()).digest()
        if self.digest == NO_KEY:
            raise ValueError("an entry is the SHA-256 of nothing, which everybody knows")
        self.id = name or self.digest.hex()[:8]

    def __repr__(self) -> str:
        return f"ApiKey({self.id})"


class Rate(NamedTuple):
    """A number of requests in a period. All of them may come at once."""

    requests: int
    period_s: int

    @classmethod
    def parse(cls, value: str) -> "Rate":
        match = re.fullmatch(r"([1-9][0-9]{0,8})/(second|minute|hour|day)", value)
        if match is None:
            raise ValueError("must be a number and a time, as in 300/minute: a second, minute, hour or day")
        rate = cls(int(match[1]), PERIODS_S[match[2]])
        if rate.requests > MOST_A_SECOND * rate.period_s:
            raise ValueError(
                f"may be {MOST_A_SECOND} requests a second at most, as they are told apart by microseconds"
            )
        return rate
