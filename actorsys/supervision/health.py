"""Which agents hang? A verdict for each from what was last heard of it; time is an argument.

Only an agent that owes something (an acknowledgement, an answer) is looked at. One that has been silent for a third of its
`hang_timeout` is pinged; when the whole timeout has passed since then without a word, it hangs. Its event loop answers a ping while a
handler waits, so a slow model call is no hang, and a busy loop is. If we ourselves were held up, or the machine slept, everybody gets
the time again: silence that we could not have heard proves nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from msgspec import Struct

Verdict = Literal["ping", "hung"]

LONGEST_CHECK_NS = 1_000_000_000


class Debtor(Struct, frozen=True):
    """An agent that owes something, and how long it may be silent."""

    name: str
    incarnation: int
    hang_timeout_ns: int


@dataclass(slots=True)
class _Watched:
    incarnation: int
    since: int  # heard of, or seen to owe something, for the first time after it owed nothing
    pinged: int | None = None


class Health:
    """Ask it at each `interval`; it says whom to ping and who hangs."""

    def __init__(self) -> None:
        self._watched: dict[str, _Watched] = {}
        self._checked: int | None = None
        self.interval_ns = LONGEST_CHECK_NS

    def heard(self, name: str, now: int) -> None:
        """Any frame of an agent proves that its loop turns."""
        watched = self._watched.get(name)
        if watched is not None:
            watched.since, watched.pinged = now, None

    def check(self, debtors: Iterable[Debtor], now: int) -> list[tuple[str, Verdict]]:
        """Look at all who owe something now; others are forgotten."""
        debtors = list(debtors)
        was_held_up = self._checked is not None and now - self._checked > 2 * self.interval_ns
        before, self._watched = self._watched, {}
        verdicts: list[tuple[str, Verdict]] = []
        for debtor in debtors:
            watched = before.get(debtor.name)
            if watched is None or watched.incarnation != debtor.incarnation or was_held_up:
                watched = _Watched(debtor.incarnation, now)
            self._watched[debtor.name] = watched
            if watched.pinged is None and now - watched.since >= debtor.hang_timeout_ns // 3:
                watched.pinged = now
                verdicts.append((debtor.name, "ping"))
            elif watched.pinged is not None and now - watched.pinged >= debtor.hang_timeout_ns:
                verdicts.append((debtor.name, "hung"))
        self._checked = now
        shortest = min((debtor.hang_timeout_ns for debtor in debtors), default=4 * LONGEST_CHECK_NS)
        self.interval_ns = min(max(shortest // 4, 1_000_000), LONGEST_CHECK_NS)
        return verdicts
