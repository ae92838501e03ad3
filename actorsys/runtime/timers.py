"""Messages that an agent sends itself later: `self.every` and `self.after`.

A timer's message goes through the mailbox like any other. Each timer has at most one message pending, so a slow handler is not buried
under ticks; and a message of a timer that an earlier incarnation set is dropped, because `on_start` sets its timers anew.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from ..mailbox.letter import DEFAULT_PRIORITY, INCARNATION, TELL, Letter

TIMER = "timer"  # in Letter.headers: the number of the timer


class Timer:
    """What `every` and `after` return; `cancel()` ends it, also for a message already on its way."""

    def __init__(self, timers: "Timers", number: int) -> None:
        self._timers = timers
        self._number = number

    def cancel(self) -> None:
        self._timers.cancel(self._number)


class _Entry:
    __slots__ = ("handle", "is_pending", "kind", "payload", "period")

    def __init__(self, kind: str, payload: bytes, period: float | None) -> None:
        self.kind = kind
        self.payload = payload
        self.period = period
        self.is_pending = False
        self.handle: asyncio.TimerHandle | None = None


class Timers:
    def __init__(self, address: str, incarnation: int, post: Callable[[Letter], None]) -> None:
        self._address = address
        self._incarnation = incarnation
        self._post = post
        self._entries: dict[int, _Entry] = {}
        self._next = 1
        self._loop = asyncio.get_running_loop()

    def start(self, seconds: float, kind: str, payload: bytes, *, repeat: bool) -> Timer:
        if seconds < 0 or (repeat and seconds == 0):
            raise ValueError(f"a timer needs a positive number of seconds, not {seconds!r}")
        number, self._next = self._next, self._next + 1
        entry = self._entries[number] = _Entry(kind, payload, seconds if repeat else None)
        entry.handle = self._loop.call_at(self._loop.time() + seconds, self._fire, number, self._loop.time() + seconds)
        return Timer(self, number)

    def cancel(self, number: int) -> None:
        entry = self._entries.pop(number, None)
        if entry is not None and entry.handle is not None:
            entry.handle.cancel()

    def close(self) -> None:
        for number in list(self._entries):
            self.cancel(number)

    def takes(self, headers: dict[str, Any]) -> bool:
        """Whether a letter with these headers is to be handled: not when it was meant for an earlier life, or its timer was cancelled."""
        if headers.get(INCARNATION, self._incarnation) != self._incarnation:
            return False
        number = headers.get(TIMER)
        if number is None:
            return True
        if number not in self._entries:
            return False
        if self._entries[number].period is None:
            del self._entries[number]
        else:
            self._entries[number].is_pending = False
        return True

    def _fire(self, number: int, due: float) -> None:
        entry = self._entries[number]
        if not entry.is_pending:
            entry.is_pending = True
            letter = Letter(TELL, 0, self._address, "", entry.kind, entry.payload, DEFAULT_PRIORITY)
            letter.headers = {INCARNATION: self._incarnation, TIMER: number}
            self._post(letter)
        entry.handle = None
        if entry.period is not None:
            # On the grid of its start, not after each tick, so that it does not drift; ticks missed while the loop was held up are skipped.
            due += entry.period * max(1, -(-(self._loop.time() - due) // entry.period))
            entry.handle = self._loop.call_at(due, self._fire, number, due)
