"""What does an env file say? KEY=VALUE lines, with quotes, `export` and comments."""

import re

from ..errors import ConfigError

_PAIR = re.compile(r"(?:export[ \t]+)?(?P<key>[A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*(?P<value>.*)")
_DOUBLE = re.compile(r'"(?P<text>(?:\\.|[^"\\])*)"[ \t]*(?:#.*)?')
_SINGLE = re.compile(r"'(?P<text>[^']*)'[ \t]*(?:#.*)?")
_COMMENT = re.compile(r"(?:^|[ \t]+)#.*")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def parse(text: str, *, file: str = ".env") -> dict[str, str]:
    """The variables that the text sets.

    Raises ConfigError with one line for each line that cannot be read. Values are never shown: they are secrets.

    >>> parse("export A=1  # one\\nB='x # y'")
    {'A': '1', 'B': 'x # y'}
    """
    values: dict[str, str] = {}
    wrong: list[str] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        match = _PAIR.fullmatch(line)
        if not match:
            wrong.append(f"{file}:{number}:1  expected KEY=VALUE")
        elif (value := _value(match["value"])) is None:
            wrong.append(f"{file}:{number}:1  {match['key']}: the quotes do not end, or something follows them")
        elif "\0" in value:
            wrong.append(f"{file}:{number}:1  {match['key']}: a zero byte cannot be set in an environment")
        else:
            values[match["key"]] = value
    if wrong:
        raise ConfigError("\n".join(wrong), where=wrong[0].partition("  ")[0])
    return values


def _value(raw: str) -> str | None:
    if raw.startswith('"'):
        quoted = _DOUBLE.fullmatch(raw)
        return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), quoted["text"]) if quoted else None
    if raw.startswith("'"):
        quoted = _SINGLE.fullmatch(raw)
        return quoted["text"] if quoted else None
    return _COMMENT.sub("", raw)
