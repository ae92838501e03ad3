"""What is wrong with a configuration, and where: all of it at once, one line each."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from ..errors import ConfigError
from ..names import nearest
from .locate import Key, Spot, find, spots

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_SHOWN_CHARS = 60


class Problem(Struct, frozen=True):
    """One wrong thing. `at` is the path of the key, as in `("agents", "counter", "replicas")`."""

    at: Key
    text: str


def config_error(problems: Iterable[Problem], *, file: str = "", toml: str = "") -> ConfigError:
    """One error with one line for each problem, in the order of the file; `toml` is its text, to find the lines in."""
    known = spots(toml) if file else {}
    placed = sorted(((find(known, problem.at), problem) for problem in problems), key=_order)
    lines = [_line(file, spot, problem) for spot, problem in placed]
    return ConfigError("\n".join(lines), where=lines[0].partition("  ")[0] if file else dotted(placed[0][1].at))


def _order(placed: tuple[Spot | None, Problem]) -> tuple[bool, Spot]:
    return placed[0] is None, placed[0] or (0, 0)


def _line(file: str, spot: Spot | None, problem: Problem) -> str:
    where = f"{file}:{spot[0]}:{spot[1]}  " if spot else f"{file}  " if file else ""
    return f"{where}{dotted(problem.at)}: {problem.text}"


def dotted(at: Key) -> str:
    """The path of a key as TOML writes it.

    >>> dotted(("agents", "a.b", "type"))
    'agents."a.b".type'
    """
    return ".".join(part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in at)


def shown(value: Any) -> str:
    """A wrong value, short enough for an error line.

    >>> shown("two"), shown(True), shown([1])
    ('"two"', 'true', 'a list')
    """
    match value:
        case str() | bool():
            text = json.dumps(value, ensure_ascii=False)
        case int() | float():
            text = repr(value)
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a table"
        case None:
            return "nothing"
        case _:
            return f"a {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def hint(word: str, known: Iterable[str]) -> str:
    """`; did you mean "x"?`, or nothing when no known word is near."""
    near = nearest(word, known)
    return f'; did you mean "{near}"?' if near else ""
