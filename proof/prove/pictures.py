"""`python -m proof.prove.pictures reports/proof.json docs/pictures`: the charts of a proof as files, for the README."""

import argparse
from pathlib import Path

from proof.prove.charts import charts
from proof.prove.proof import Proof

INK = "<style>svg { color: #1f2328 } @media (prefers-color-scheme: dark) { svg { color: #e6edf3 } }</style>"
"""Colours for a picture in a file of its own, which has no page to inherit them from."""


def draw(proof: Proof, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for chart in charts(proof):
        head, start, rest = chart.svg(proof).partition("<defs>")
        written.append(folder / f"{chart.name}.svg")
        written[-1].write_text(f"{head}{INK}\n {start}{rest}")
    return written


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m proof.prove.pictures", description=__doc__)
    parser.add_argument("proof", type=Path, help="a proof.json")
    parser.add_argument("folder", type=Path, help="where the SVG files go")
    given = parser.parse_args()
    for path in draw(Proof.read(given.proof), given.folder):
        print(f"Wrote {path}")


if __name__ == "__main__":
    main()
