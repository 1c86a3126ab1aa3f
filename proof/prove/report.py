"""Writes `proof.json`, and `proof.html`: one file that needs no network, with the claims, the charts and every sample."""

import re
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from proof.prove.charts import charts
from proof.prove.experiments import EXPERIMENTS
from proof.prove.proof import Proof
from proof.prove.words import law_in_words, number, spread


def _code(text: str) -> Markup:
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped first


def write(proof: Proof, folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "proof.html", folder / "proof.json"]
    for path, text in zip(paths, (render(proof), proof.to_json()), strict=True):
        path.write_text(text)
    return paths


def render(proof: Proof) -> str:
    environment = Environment(
        loader=PackageLoader("proof.prove", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "code": _code, "spread": spread}
    return environment.get_template("report.html").render(
        proof=proof,
        questions={name: experiment.question for name, experiment in EXPERIMENTS.items()},
        charts={chart.experiment: chart.svg(proof) for chart in charts(proof)},
        law=list(law_in_words(proof)),
    )
