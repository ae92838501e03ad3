"""On which line and in which column of a TOML text does a key stand?

`tomllib` keeps no positions, so the text is scanned again. It is known to be valid TOML by then: the scan only has to tell keys
from values. Lines and columns count from 1.
"""

import re
from collections.abc import Mapping

Key = tuple[str, ...]
Spot = tuple[int, int]

_TOKEN = re.compile(
    r'(?P<string>"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\')'
    r"|(?P<skip>[ \t\r]+|\#[^\n]*)|(?P<bare>[A-Za-z0-9_-]+)|(?P<mark>.)",
    re.DOTALL,
)


def locate(toml: str, at: Key) -> Spot | None:
    """Where `at` stands, or the nearest table around it; None when not even that is there.

    >>> locate("[agents.a]\\nenv = { TZ = 1 }", ("agents", "a", "env", "TZ"))
    (2, 9)
    """
    return find(spots(toml), at)


def find(known: Mapping[Key, Spot], at: Key) -> Spot | None:
    """The same, in a text that was scanned before."""
    for length in range(len(at), 0, -1):
        if at[:length] in known:
            return known[at[:length]]
    return None


def spots(toml: str) -> dict[Key, Spot]:
    """The place of every key and table; of a table, that of its header."""
    return _Scan(toml).document()


class _Scan:
    def __init__(self, toml: str) -> None:
        self.found: dict[Key, Spot] = {}
        self.tokens: list[tuple[str, Spot, bool]] = []  # text, place, whether it can be a part of a key
        line, start = 1, 0
        for match in _TOKEN.finditer(toml):
            if match.lastgroup != "skip":
                self.tokens.append((match[0], (line, match.start() - start + 1), match.lastgroup in ("string", "bare")))
            if newlines := match[0].count("\n"):
                line, start = line + newlines, match.start() + match[0].rindex("\n") + 1
        self.at = 0

    def document(self) -> dict[Key, Spot]:
        table: Key = ()
        while self.at < len(self.tokens):
            text, spot, is_key = self.tokens[self.at]
            if text == "[":
                while self._peek() == "[":
                    self.at += 1
                table = self._key((), spot)
                while self._peek() == "]":
                    self.at += 1
            elif is_key:
                self._pair(table)
            else:
                self.at += 1
        return self.found

    def _peek(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def _key(self, base: Key, spot: Spot) -> Key:
        parts = []
        while self.at < len(self.tokens):
            text, _, is_key = self.tokens[self.at]
            if is_key:
                parts.append(text[1:-1] if text[0] in "\"'" else text)
            elif text != ".":
                break
            self.at += 1
        for length in range(len(base) + 1, len(base) + len(parts) + 1):
            self.found.setdefault((*base, *parts)[:length], spot)
        return (*base, *parts)

    def _pair(self, base: Key) -> None:
        key = self._key(base, self.tokens[self.at][1])
        self.at += 1  # the =
        if self._peek() == "{":
            self._inline_table(key)
        else:
            self._value()

    def _inline_table(self, key: Key) -> None:
        self.at += 1
        while self._peek() not in ("}", ""):
            if self.tokens[self.at][2]:
                self._pair(key)
            else:
                self.at += 1
        self.at += 1

    def _value(self) -> None:
        depth = 0
        while (text := self._peek()) and (depth or text not in ("\n", ",", "}")):
            depth += (text in ("[", "{")) - (text in ("]", "}"))
            self.at += 1
