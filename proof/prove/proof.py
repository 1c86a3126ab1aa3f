"""The options of a run of the proof, and all that it found; to JSON and back. Measures nothing and draws nothing."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from proof.prove.claims import Claim
from proof.prove.evidence import Results
from proof.prove.experiment import Scope
from proof.prove.machine import Machine
from proof.prove.usl import Law


@dataclass(frozen=True)
class Options:
    workers: tuple[int, ...] = ()
    users: int = 100
    seconds: float = 1.0
    repeat: int = 5
    connections: int = 10_000
    only: tuple[str, ...] = ()
    host: str | None = None
    ops_url: str | None = None
    load: float = 500.0
    ms: int = 200


@dataclass(frozen=True)
class Proof:
    made_at: str
    took_s: float
    machine: Machine
    options: Options
    scope: Scope
    results: dict[str, Results]
    claims: dict[str, list[Claim]]
    law: Law | None

    @property
    def all_claims(self) -> Iterator[Claim]:
        return (claim for claims in self.claims.values() for claim in claims)

    def to_json(self) -> str:
        """Render JSON, with the verdicts first for programs that only want those."""
        verdicts = {
            claim.name: {
                "verdict": claim.verdict,
                "ratio": round(claim.ratio, 3) if claim.measured.rounds else None,
                "interval": asdict(claim.interval) if claim.interval else None,
                "expected": str(claim.bound),
                "why": claim.why,
            }
            for claim in self.all_claims
        }
        return json.dumps({"verdicts": verdicts, **_PROOF.dump_python(self, mode="json")}, indent=1)

    @classmethod
    def read(cls, path: Path) -> "Proof":
        return _PROOF.validate_json(path.read_bytes())


_PROOF = TypeAdapter(Proof)
