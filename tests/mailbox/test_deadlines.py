"""One timer for all asks: each number is late once, in order, never early."""

import asyncio

import pytest

from actorsys.clock import now_ns
from actorsys.mailbox.deadlines import TICK_BITS, Deadlines
from actorsys.units import SECOND_NS

TICK = 1 << TICK_BITS


class Rig:
    def __init__(self):
        self.rung = []
        self.deadlines = Deadlines(self.late)
        self.all = asyncio.get_running_loop().create_future()
        self.wanted = 0

    def late(self, number):
        self.rung.append((number, now_ns()))
        if len(self.rung) == self.wanted:
            self.all.set_result(None)

    async def wait(self, count):
        self.wanted = count
        await asyncio.wait_for(self.all, 10)
        return [number for number, _ in self.rung]


def in_loop(body):
    async def main():
        rig = Rig()
        try:
            await body(rig)
        finally:
            rig.deadlines.close()

    asyncio.run(main())


def test_each_is_late_once_in_order_and_never_early():
    async def body(rig):
        began = now_ns()
        deadlines = {number: began + number * 3 * TICK for number in (3, 1, 2)}
        for number, deadline in deadlines.items():
            rig.deadlines.add(number, deadline)
        assert await rig.wait(3) == [1, 2, 3]
        assert all(at > deadlines[number] for number, at in rig.rung)
        assert len(rig.deadlines) == 0

    in_loop(body)


def test_what_was_removed_is_not_late_and_what_shares_its_tick_is():
    async def body(rig):
        deadline = now_ns() + TICK
        for number in (1, 2):
            rig.deadlines.add(number, deadline)
        rig.deadlines.remove(1, deadline)
        assert await rig.wait(1) == [2]

    in_loop(body)


def test_an_earlier_one_does_not_wait_for_the_timer_of_a_later_one():
    async def body(rig):
        rig.deadlines.add(1, now_ns() + 3600 * SECOND_NS)
        rig.deadlines.add(2, now_ns())
        assert await rig.wait(1) == [2]
        assert len(rig.deadlines) == 1

    in_loop(body)


def test_one_that_is_added_while_others_are_late_has_its_turn():
    async def body(rig):
        first = rig.late

        def late(number):
            if number == 1:
                rig.deadlines.add(2, now_ns())
            first(number)

        rig.deadlines._late = late
        rig.deadlines.add(1, now_ns())
        assert await rig.wait(2) == [1, 2]

    in_loop(body)


@pytest.mark.parametrize("close", [False, True])
def test_nothing_rings_for_what_was_removed_or_closed(close):
    async def body(rig):
        deadline = now_ns() + TICK
        rig.deadlines.add(1, deadline)
        if close:
            rig.deadlines.close()
        else:
            rig.deadlines.remove(1, deadline)
        rig.deadlines.remove(1, deadline)  # once more does no harm
        assert len(rig.deadlines) == 0
        rig.deadlines.add(2, deadline + TICK)  # behind it in time, so it would have come first
        assert await rig.wait(1) == [2]

    in_loop(body)
