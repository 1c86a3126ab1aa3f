"""What cannot be measured, or not be kept, is refused before anything is started."""

import argparse
from collections.abc import Callable
from pathlib import Path

import pytest

from proof.bench import __main__ as bench
from proof.chaos import __main__ as chaos
from proof.prove import __main__ as prove

Parser = Callable[[], argparse.ArgumentParser]


@pytest.mark.parametrize(
    ("parser", "words"),
    [
        (bench._parser, ["--rounds", "0"]),
        (bench._parser, ["--seconds", "-1"]),
        (prove._parser, ["--repeat", "0"]),
        (prove._parser, ["--seconds", "0"]),
        (prove._parser, ["--seconds", "nan"]),
        (prove._parser, ["--users", "0"]),
        (prove._parser, ["--load", "inf"]),
        (chaos._parser, ["--soak", "-1"]),
        (chaos._parser, ["--siege", "0"]),
        (prove._parser, ["--out", "/proc/reports"]),
        (bench._parser, ["--out", "/dev/null"]),
        (chaos._parser, ["--out", f"{__file__}/reports"]),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else given.__module__,
)
def test_an_argument_with_which_nothing_comes_of_it_is_refused(
    parser: Parser, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(words)
    assert ended.value.code == 2
    assert f"argument {words[0]}" in capsys.readouterr().err


def test_an_outage_needs_its_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        chaos.main(["--without", "redis"])
    assert "--without needs --soak MINUTES" in capsys.readouterr().err


def test_the_folder_of_the_results_is_made(tmp_path: Path) -> None:
    assert prove._parser().parse_args(["--out", str(tmp_path / "a" / "b")]).out.is_dir()
