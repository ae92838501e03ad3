import io
import logging
import re
import sys
import threading

from actorsys.cli import log
from actorsys.cli.log import LineFormatter, LineHandler, install, remove


def record(text, *args, name="actorsys.supervisor", level=logging.INFO, **extra):
    made = logging.LogRecord(name, level, __file__, 1, text, args, None)
    made.__dict__.update(extra)
    return made


def lines(*records, colour=False):
    formatter = LineFormatter(colour=colour)
    return "".join(map(formatter.format, records)).splitlines()


def test_each_line_has_its_time_and_its_name():
    (line,) = lines(record("up with %d", 3))
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d\d\d supervisor \| up with 3", line)


def test_names_are_padded_to_the_longest_seen():
    found = lines(*(record("x", agent=name, raw=True) for name in ("a", "summarizer/0", "b")))
    assert [line[13:] for line in found] == ["a          | x", "summarizer/0 | x", "b            | x"]


def test_a_raw_line_stays_one_line_with_its_control_characters_visible():
    (line,) = lines(record("a\x1b[2J\n12:00:00.000 supervisor | forged", agent="a", raw=True))
    assert line.endswith("| a\\x1b[2J\\n12:00:00.000 supervisor | forged")


def test_a_raw_line_is_no_format():
    (line,) = lines(record("100% %s", agent="a", raw=True))
    assert line.endswith("| 100% %s")


def test_every_line_of_a_traceback_is_prefixed():
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        made = record("it broke", level=logging.ERROR)
        made.exc_info = sys.exc_info()
    found = lines(made)
    assert len(found) > 3
    assert all(" supervisor | ERROR " in line for line in found)


def test_a_name_has_the_same_colour_each_time():
    first, second = lines(record("x", agent="a"), record("y", agent="a"), colour=True)
    assert first.startswith("\x1b[")
    assert first[:5] == second[:5]


def test_install_prints_what_is_logged_from_the_level_up(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    level = logging.getLogger("actorsys").level
    handler = install("warning")
    try:
        logging.getLogger("actorsys.supervisor").info("quiet")
        logging.getLogger("actorsys.agent").warning("loud", extra={"agent": "a", "raw": True})
    finally:
        remove(handler)
        logging.getLogger("actorsys").setLevel(level)
    assert [line[13:] for line in stream.getvalue().splitlines()] == ["a          | loud"]


def test_an_unknown_level_counts_as_info_and_is_said_so(monkeypatch):
    stream = io.StringIO()
    monkeypatch.setattr("sys.stdout", stream)
    level = logging.getLogger("actorsys").level
    remove(install("loud"))
    assert logging.getLogger("actorsys").level == logging.INFO
    logging.getLogger("actorsys").setLevel(level)
    assert "LOG_LEVEL=loud is not a level; taking INFO" in stream.getvalue()


class Held(io.StringIO):
    """A terminal that takes nothing until it is let go."""

    def __init__(self):
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def write(self, text):
        self.begun.set()
        assert self.go.wait(10)
        return super().write(text)


def test_a_reader_that_does_not_read_stops_nobody_and_what_is_lost_is_counted(monkeypatch):
    monkeypatch.setattr(log, "LINES_KEPT", 2)
    stream = Held()
    handler = LineHandler(stream)
    handler.emit(record("first"))
    assert stream.begun.wait(10)
    for text in ("second", "third", "fourth", "fifth"):
        handler.emit(record(text))
    assert handler.dropped == 2
    stream.go.set()
    handler.close()
    assert [line.rpartition("| ")[2] for line in stream.getvalue().splitlines()] == [
        "first",
        "second",
        "(2 lines dropped: they were written faster than read)",
        "third",
    ]


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_a_reader_that_is_gone_is_no_error(monkeypatch):
    monkeypatch.setattr("sys.stdout", io.StringIO())
    handler = LineHandler(Gone())
    for _ in range(3):
        handler.emit(record("x"))
    handler.close()
    assert not handler._thread.is_alive()
