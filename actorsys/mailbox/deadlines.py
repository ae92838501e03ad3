"""When do the asks of a process time out? One timer of the event loop for all of them.

A timer for each ask costs 2 us, which is a sixth of the ask; a look-up in a wheel of coarse ticks a tenth of that. The idea is that of
the hashed timing wheels of Varghese and Lauck (SOSP 1987), with a dict in place of the circular array.
"""

import asyncio
from collections.abc import Callable

from ..clock import now_ns
from ..units import SECOND_NS

TICK_BITS = 22  # a tick takes 4.2 ms: so much later than asked for, at most, and never earlier


class Deadlines:
    """Calls `late(number)` once the deadline of a number, monotonic ns, has passed; its caller may have removed it before."""

    def __init__(self, late: Callable[[int], None]) -> None:
        self._late = late
        self._due: dict[int, set[int]] = {}  # numbers by the tick that begins after their deadline
        self._timer: asyncio.TimerHandle | None = None
        self._armed = 0  # the tick at which the timer goes off

    def __len__(self) -> int:
        return sum(len(due) for due in self._due.values())

    def add(self, number: int, deadline: int) -> None:
        tick = (deadline >> TICK_BITS) + 1
        due = self._due.get(tick)
        if due is not None:
            due.add(number)
            return
        self._due[tick] = {number}
        if self._timer is None or tick < self._armed:
            self._arm(tick)

    def remove(self, number: int, deadline: int) -> None:
        """Forget it, if it is there. The timer stays: the next ask may well have the same use for it."""
        tick = (deadline >> TICK_BITS) + 1
        due = self._due.get(tick)
        if due is not None:
            due.discard(number)
            if not due:
                del self._due[tick]

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due.clear()

    def _arm(self, tick: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = tick
        # A loop's timer may go off up to a millisecond early: then it is armed again.
        seconds = max(0.001, ((tick << TICK_BITS) - now_ns()) / SECOND_NS)
        self._timer = asyncio.get_running_loop().call_later(seconds, self._ring)

    def _ring(self) -> None:
        self._timer = None
        now = now_ns() >> TICK_BITS
        for tick in sorted(tick for tick in self._due if tick <= now):
            for number in self._due.pop(tick, ()):
                self._late(number)
        if self._due:
            self._arm(min(self._due))
