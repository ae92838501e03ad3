"""What `supervise` prints: one prefixed line for everything that agents and the supervisor say.

    14:02:11.382 summarizer/0 | summarised 14 items

A thread of its own writes: a terminal that is held (Ctrl-S) or a reader that is slow must not stop the supervisor.
"""

import logging
import queue
import sys
import threading
import zlib
from datetime import datetime
from typing import TextIO

import click

from .output import clean, clean_lines, has_colour, silence_stdout

LINES_KEPT = 10_000
CLOSE_TIMEOUT_S = 2.0
_COLOURS = ("cyan", "magenta", "blue", "green", "yellow", "bright_cyan", "bright_magenta", "bright_blue", "bright_green")
_NAME_WIDTH = 10
_NAME_WIDTH_MOST = 32


class LineFormatter(logging.Formatter):
    """A record as prefixed lines. Control characters become visible, so that no agent can forge the lines of another."""

    def __init__(self, *, colour: bool) -> None:
        super().__init__()
        self.colour = colour
        self.width = _NAME_WIDTH

    def format(self, record: logging.LogRecord) -> str:
        name = clean(str(getattr(record, "agent", "") or record.name.rpartition(".")[2]))
        self.width = max(self.width, min(len(name), _NAME_WIDTH_MOST))
        prefix = f"{datetime.fromtimestamp(record.created).astimezone():%H:%M:%S}.{int(record.msecs):03d} {name:<{self.width}} |"
        if self.colour:
            prefix = click.style(prefix, fg=_COLOURS[zlib.crc32(name.encode()) % len(_COLOURS)])
        if getattr(record, "raw", False):
            return f"{prefix} {clean(record.getMessage())}\n"
        level = f"{record.levelname} " if record.levelno >= logging.WARNING else ""
        if level and self.colour:
            level = click.style(level, fg="red" if record.levelno >= logging.ERROR else "yellow")
        return "".join(f"{prefix} {level}{line}\n" for line in clean_lines(super().format(record)))


class LineHandler(logging.Handler):
    """Hands lines to the writing thread; `close` waits a moment for those still to be written.

    At most LINES_KEPT lines wait. Those that do not fit are dropped and counted, and the count is printed.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream
        self.dropped = 0
        self.setFormatter(LineFormatter(colour=has_colour(stream)))
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_KEPT)
        self._thread = threading.Thread(target=self._write, name="actorsys-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record))
        except queue.Full:
            self.dropped += 1
        except Exception:  # noqa: BLE001 - the contract of logging: a record that cannot be formatted is reported, not raised
            self.handleError(record)

    def close(self) -> None:
        try:
            self._lines.put(None, timeout=CLOSE_TIMEOUT_S)
        except queue.Full:
            pass  # the reader does not read: nobody will miss the rest
        self._thread.join(CLOSE_TIMEOUT_S)
        super().close()

    def _write(self) -> None:
        try:
            while (text := self._lines.get()) is not None:
                if self.dropped:
                    text += f"({self.dropped} lines dropped: they were written faster than read)\n"
                    self.dropped = 0
                self.stream.write(text)
                if self._lines.empty():
                    self.stream.flush()
            self.stream.flush()
        except (OSError, ValueError):
            # The reader is gone. That is no reason for agents to die: go on without output.
            silence_stdout()
            while self._lines.get() is not None:
                pass


def install(level: str) -> LineHandler:
    """Print what is logged, from `level` up, on stdout. An unknown level counts as INFO, and is said so."""
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="backslashreplace")
    handler = LineHandler(sys.stdout)
    root, ours = logging.getLogger(), logging.getLogger("actorsys")
    root.addHandler(handler)
    known = logging.getLevelNamesMapping()
    ours.setLevel(known.get(level.upper(), logging.INFO))
    if level.upper() not in known:
        ours.warning("LOG_LEVEL=%s is not a level; taking INFO. Levels: DEBUG, INFO, WARNING, ERROR", level)
    return handler


def remove(handler: LineHandler) -> None:
    """Undo `install`; everything logged so far is written first."""
    logging.getLogger().removeHandler(handler)
    handler.close()
