"""What do `${VAR}` and `${VAR:-default}` in the strings of a configuration stand for? `$$` is a plain `$`."""

import re
from collections.abc import Mapping
from typing import Any

from msgspec import UNSET

from .locate import Key
from .problems import Problem

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<inside>[^}]*)(?P<end>\}?))")
_INSIDE = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


def expand(value: Any, environ: Mapping[str, str], at: Key, problems: list[Problem]) -> Any:
    """`value` with every string in it expanded. A string that cannot be expanded becomes UNSET and a problem."""
    if isinstance(value, str):
        return _text(value, environ, at, problems)
    if isinstance(value, Mapping):
        return {key: expand(item, environ, (*at, str(key)), problems) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [expand(item, environ, at, problems) for item in value]
    return value


def _text(text: str, environ: Mapping[str, str], at: Key, problems: list[Problem]) -> Any:
    wrong: list[str] = []

    def stand_for(match: re.Match[str]) -> str:
        if match["dollar"]:
            return "$"
        inside = _INSIDE.fullmatch(match["inside"])
        if not inside or not match["end"]:
            wrong.append(f"{match[0]} cannot be read; write ${{NAME}} or ${{NAME:-default}}, and $$ for a plain $")
            return ""
        name, default = inside["name"], inside["default"]
        value = environ.get(name, "" if default is None else default)
        if default is None and name not in environ:
            wrong.append(f"the environment variable {name} is not set; set it, or write ${{{name}:-default}}")
        return value or default or ""

    expanded = _REFERENCE.sub(stand_for, text)
    problems.extend(Problem(at, line) for line in wrong)
    return UNSET if wrong else expanded
