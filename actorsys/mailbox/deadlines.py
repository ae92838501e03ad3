"""When do the asks of a process time out? One timer of the event loop for all of them.

A timer for each costs 2 us, a quarter of what an ask takes in its process. Nearly all asks are answered long before their deadline, so
nothing is kept in order here: the timer goes off at the earliest deadline there was, looks at all that still wait, and is set again.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context

from ..clock import now_ns
from ..units import SECOND_NS

NEVER = 2**63
APART_NS = 4_000_000  # between two looks, at least: so much later than asked for at most, and never earlier
EACH_NS = 1_000  # the same for each that waits: to look at one takes a twentieth of it


class Deadlines:
    """Calls `late(number)` when the deadline of one of `waiting()`, pairs of a number and monotonic ns or NEVER, has passed.

    Whoever is late waits no more after the call.
    """

    def __init__(self, waiting: Callable[[], Iterable[tuple[int, int]]], late: Callable[[int], None]) -> None:
        self._waiting = waiting
        self._late = late
        self._timer: asyncio.TimerHandle | None = None
        self._armed = NEVER  # when the timer goes off

    def watch(self, deadline: int) -> None:
        """Somebody waits now until `deadline`."""
        if deadline < self._armed:
            self._arm(deadline)

    def close(self) -> None:
        self._armed = NEVER
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = at
        # A millisecond more: a loop's timer may go off as much earlier.
        seconds = max(0, at - now_ns()) / SECOND_NS + 0.001
        # In a context of its own: that of whoever asks would keep alive what the asker knows, for as long as the timer runs.
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring, context=Context())

    def _ring(self) -> None:
        self._timer, self._armed = None, NEVER
        now, soonest, count, late = now_ns(), NEVER, 0, []
        for number, deadline in self._waiting():
            if deadline <= now:
                late.append(number)
            elif deadline < soonest:
                soonest = deadline
            count += 1
        for number in late:
            self._late(number)
        if soonest < NEVER:
            self.watch(max(soonest, now + APART_NS, now + EACH_NS * count))
