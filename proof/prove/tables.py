"""The proof on a terminal: a table a claim, what the fitted law says, and one last line."""

from collections import Counter

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from proof.prove.claims import Claim
from proof.prove.proof import Proof
from proof.prove.words import law_in_words, number, spread

STYLES = {"proved": "bold green", "not proved": "bold red", "cannot be told here": "bold yellow"}


def print_proof(proof: Proof, console: Console) -> None:
    for claim in proof.all_claims:
        console.print(_table(claim), "")
    for sentence in law_in_words(proof):
        console.print(f"  {escape(sentence)}")
    counts = Counter(claim.verdict for claim in proof.all_claims)
    summary = Text("\n  ").join(
        [Text(f"{count} {verdict}", style=STYLES[verdict]) for verdict, count in counts.items()]
    )
    console.print(Text("\n  ") + summary, f"  in {proof.took_s:.0f} s on {proof.machine.cores} cores", "", sep="\n")


def _table(claim: Claim) -> Table:
    table = Table(
        title=f"[bold]{escape(claim.says)}[/]", title_justify="left", show_header=False, box=None, min_width=76
    )
    table.add_column(ratio=1)
    table.add_column(justify="right")
    table.add_column()
    table.add_column()
    for figure in claim.figures:
        table.add_row(f"  {figure.label}", number(figure.value), figure.unit, spread(figure.low, figure.high))
    found = claim.interval
    ends = spread(found.low, found.high) if found else ""
    table.add_row(f"  [bold]{claim.compares}[/]", f"[bold]{number(claim.ratio)}[/]", f"expected {claim.bound}", ends)
    table.add_row(f"  [{STYLES[claim.verdict]}]{claim.verdict}[/]")
    if claim.why:
        table.caption, table.caption_justify = f"  {escape(claim.why)}", "left"
    return table
