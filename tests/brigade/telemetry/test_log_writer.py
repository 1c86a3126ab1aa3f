"""What becomes of log lines when stdout is a pipe that nobody reads, a full disk, or an alphabet that lacks the letter."""

import fcntl
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from brigade.telemetry import log_writer
from brigade.telemetry.logs import Handler
from tests.brigade.ops.test_ops import eventually

ROOT = Path(__file__).parents[3]


@contextmanager
def logging_to(descriptor: int) -> Iterator[tuple[logging.Logger, Handler]]:
    handler = Handler("json", descriptor)
    logger = logging.Logger("test")  # noqa: LOG001 - pytest has no handler on it
    logger.addHandler(handler)
    handler.writer.start()
    yield logger, handler
    handler.writer.stop()


@contextmanager
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    for end in (reader, writer):
        os.close(end)


def events(text: str | bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize(
    ("message", "values"),
    [("%d items", ("three",)), ("%s %s", ("one",)), (type("Sly", (), {"__str__": None, "__repr__": None})(), ())],
    ids=["wrong type", "too few", "no text at all"],
)
def test_a_log_call_that_cannot_be_rendered_costs_its_own_line_only(message: Any, values: tuple[object, ...]) -> None:
    with pipe() as (reader, writer):
        with logging_to(writer) as (logger, _):
            logger.warning(message, *values)
            logger.error("after it")
        defect, line = events(os.read(reader, 65536))
    assert (defect["event"], defect["by"]) == ("log call cannot be rendered", "test")
    assert defect["file"] == __file__
    assert line["event"] == "after it"


def test_a_reader_that_comes_back_finds_the_lines_of_meanwhile(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(fifo := tmp_path / "fifo")
    first = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(fifo, os.O_WRONLY)
    told = ""

    def has_told() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return bool(told)

    with logging_to(writer) as (logger, _):
        os.close(first)
        logger.warning("nobody reads")
        eventually(has_told)
        logger.warning("still nobody")
        with fifo.open() as reader:
            assert [json.loads(reader.readline())["event"] for _ in range(2)] == ["nobody reads", "still nobody"]
            logger.warning("somebody again")
            assert json.loads(reader.readline())["event"] == "somebody again"
    os.close(writer)
    (complaint,) = events(told)
    assert (complaint["event"], complaint["errno"]) == ("log lines wait: stdout takes none", "EPIPE")


def test_a_full_disk_cuts_no_line_and_loses_none(tmp_path: Path) -> None:
    """The child may write 1,000 bytes to a file, and more a while later."""
    script = """
import logging, resource, sys, time
from brigade.settings import Settings
from brigade.telemetry import logs
logs.configure(Settings())
most = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
with logs.written_by_thread():
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, most))
    for number in range(20):
        logging.warning("line %d", number)
    sys.stderr.flush()
    sys.stdin.read(1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    time.sleep(1.5)
"""
    with (tmp_path / "log").open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-c", script], cwd=ROOT, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.PIPE
        )
    assert child.stderr
    complaint = json.loads(child.stderr.readline())
    assert complaint["errno"] == "EFBIG"
    assert (tmp_path / "log").stat().st_size == 1000
    _, rest = child.communicate(b".")
    assert rest == b""
    assert [line["event"] for line in events((tmp_path / "log").read_bytes())] == [f"line {n}" for n in range(20)]


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_of_several_processes_through_a_full_pipe_are_whole(blocking: bool) -> None:
    script = """
import logging, sys
from brigade.settings import Settings
from brigade.telemetry import logs
logs.configure(Settings())
with logs.written_by_thread():
    for number in range(60):
        logging.warning("%s", sys.argv[1] * (100 + number * 500))
"""
    with pipe() as (reader, writer):
        fcntl.fcntl(writer, fcntl.F_SETFL, 0 if blocking else os.O_NONBLOCK)
        children = [subprocess.Popen([sys.executable, "-c", script, who], cwd=ROOT, stdout=writer) for who in "abc"]
        text = b""
        while text.count(b"\n") < 180:
            text += os.read(reader, 5000)
        assert [child.wait() for child in children] == [0, 0, 0]
    found = [line["event"] for line in events(text)]
    for who in "abc":
        assert [len(event) for event in found if event[0] == who] == [100 + number * 500 for number in range(60)]
    assert all(len(set(event)) == 1 for event in found)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "koi8-r"])
def test_text_in_an_alphabet_that_lacks_a_letter_is_escaped(encoding: str) -> None:
    script = """
import logging
from brigade.settings import Settings
from brigade.telemetry import logs
logs.configure(Settings(log_format="console"))
with logs.written_by_thread():
    logging.warning("a visitor's \u6f22")
    logging.warning("after it")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    assert "a visitor's \\u6f22" in done.stdout.decode(encoding)
    assert b"after it" in done.stdout
    assert done.stderr == b""


def test_lines_that_nobody_takes_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "QUEUE_LINES", 10)
    with pipe() as (reader, writer):
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        with logging_to(writer) as (logger, handler):
            for number in range(1000):
                logger.warning("line %d", number)
            dropped = handler.writer.dropped_total
            assert dropped
            found: list[dict[str, Any]] = []

            def read() -> None:
                with os.fdopen(os.dup(reader)) as lines:
                    while not found or found[-1]["event"] != "last":
                        found.append(json.loads(lines.readline()))

            thread = threading.Thread(target=read)
            thread.start()
            told = partial(_told, found)
            eventually(
                lambda: len(told()) > 0 and len(found) >= 1000 - dropped + len(told())
            )  # or "last" finds no room
            logger.warning("last")
            thread.join()
    assert sum(told()) == dropped
    assert len(found) == 1000 - dropped + len(told()) + 1


def _told(found: list[dict[str, Any]]) -> list[int]:
    return [line["lines"] for line in found if line["event"] == "log lines dropped"]


def test_a_stuck_reader_does_not_hold_up_the_end() -> None:
    with pipe() as (reader, writer):
        handler = Handler("json", writer)
        handler.writer.start()
        logger = logging.Logger("test")  # noqa: LOG001 - pytest has no handler on it
        logger.addHandler(handler)
        for _ in range(200):
            logger.warning("%s", "x" * 2000)
        handler.writer.stop(within_s=0.1)
        received = 0
        while received < 200 * 2000:
            received += len(os.read(reader, 65536))
