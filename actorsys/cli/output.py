"""How data looks on stdout: aligned tables for people, JSON for programs. Everything else goes to stderr."""

import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TextIO

import click
import msgspec

# Control characters, line separators and those that turn the direction of text: whoever prints them could forge other lines.
_UNSAFE = re.compile("[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

Style = Callable[[str], str]


def clean(text: str) -> str:
    """`text` on one line, with control characters visible.

    >>> clean("a\\x1b[31m")
    'a\\\\x1b[31m'
    """
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def clean_lines(text: str) -> list[str]:
    """The lines of `text`, each cleaned."""
    return [clean(line) for line in text.rstrip("\n").split("\n")]


def has_colour(stream: TextIO) -> bool:
    """Whether colour is wanted there: a terminal, and NO_COLOR is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def silence_stdout() -> None:
    """Nobody reads stdout any more: what is still buffered goes nowhere, without an error at exit."""
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
    except (OSError, ValueError):
        pass  # it is no real file, or closed already


def print_line(text: str) -> None:
    # color=True: whether to colour was decided where the text was made; click's own guess ignores NO_COLOR.
    click.echo(text, color=True)


def note(text: str) -> None:
    """A line for people beside the data."""
    sys.stdout.flush()
    click.echo(text, err=True)


def print_json(value: Any, *, lines: bool = False) -> None:
    """`value` as JSON: indented on a terminal, else on one line; `lines`: every item of a list on a line of its own."""
    if lines and isinstance(value, list):
        for item in value:
            print_line(_json(item, indent=False))
    else:
        print_line(_json(value, indent=not lines and sys.stdout.isatty()))


def _json(value: Any, *, indent: bool) -> str:
    encoded = msgspec.json.encode(value)
    return (msgspec.json.format(encoded, indent=2) if indent else encoded).decode()


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], styles: dict[str, Style] | None = None) -> None:
    """Rows under their columns. `styles` colours the cells of a column, on a terminal."""
    cells = [[clean(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    paint = (styles or {}) if has_colour(sys.stdout) else {}
    print_line("  ".join(name.ljust(width) for name, width in zip(columns, widths, strict=True)).rstrip())
    for row in cells:
        padded = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        padded[-1] = padded[-1].rstrip()
        styled = [paint[name](cell) if name in paint else cell for name, cell in zip(columns, padded, strict=True)]
        print_line("  ".join(styled).rstrip())


_STATE_COLOURS = {"running": "green", "failed": "red", "stopped": "bright_black"}


def state_style(cell: str) -> str:
    """The colour of a state of an agent; those that pass are yellow."""
    return click.style(cell, fg=_STATE_COLOURS.get(cell.strip(), "yellow"))
