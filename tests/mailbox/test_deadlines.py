"""One timer for all asks: whoever is late is so once, never early, and soon."""

import asyncio
import contextlib

import pytest

from actorsys.clock import now_ns
from actorsys.mailbox.deadlines import APART_NS, NEVER, Deadlines
from actorsys.units import SECOND_NS


class Rig:
    def __init__(self):
        self.waiting = {}
        self.rung = []
        self.looks = 0
        self.deadlines = Deadlines(self.look, self.late)
        self.wanted, self.all = 0, asyncio.get_running_loop().create_future()

    def look(self):
        self.looks += 1
        return self.waiting.items()

    def add(self, number, deadline):
        self.waiting[number] = deadline
        self.deadlines.watch(deadline)

    def late(self, number):
        self.rung.append((number, self.waiting.pop(number), now_ns()))
        if len(self.rung) == self.wanted:
            self.all.set_result(None)

    async def wait(self, count):
        self.wanted = count
        await asyncio.wait_for(self.all, 10)
        assert all(deadline <= at for _, deadline, at in self.rung)
        return [number for number, _, _ in self.rung]


@pytest.fixture
def check():
    def run(body):
        async def main():
            rig = Rig()
            with contextlib.closing(rig.deadlines):
                await body(rig)

        asyncio.run(main())

    return run


def test_each_is_late_once_in_order_and_never_early(check):
    async def body(rig):
        began = now_ns()
        for number in (3, 1, 2):
            rig.add(number, began + number * 3 * APART_NS)
        assert await rig.wait(3) == [1, 2, 3]

    check(body)


def test_who_is_answered_in_time_is_not_late(check):
    async def body(rig):
        deadline = now_ns() + APART_NS
        for number in (1, 2):
            rig.add(number, deadline)
        del rig.waiting[1]
        assert await rig.wait(1) == [2]

    check(body)


def test_an_earlier_one_does_not_wait_for_a_later_one(check):
    async def body(rig):
        rig.add(1, now_ns() + 3600 * SECOND_NS)
        rig.add(2, now_ns())
        assert await rig.wait(1) == [2]
        assert list(rig.waiting) == [1]

    check(body)


def test_who_waits_for_ever_is_never_late_and_is_not_looked_at_again(check):
    async def body(rig):
        rig.waiting[1] = NEVER
        rig.add(2, now_ns())
        assert await rig.wait(1) == [2]
        assert rig.deadlines._timer is None

    check(body)


def test_one_that_comes_while_others_are_late_has_its_turn(check):
    async def body(rig):
        late = rig.late

        def late_and_another(number):
            if number == 1:
                rig.add(2, now_ns())
            late(number)

        rig.deadlines._late = late_and_another
        rig.add(1, now_ns())
        assert await rig.wait(2) == [1, 2]

    check(body)


def test_deadlines_that_are_close_to_each_other_share_a_look(check):
    async def body(rig):
        began = now_ns()
        for number in range(100):
            rig.add(number, began + number * 100_000)  # 10 ms in all
        assert await rig.wait(100) == list(range(100))
        assert rig.looks <= 4

    check(body)


def test_nothing_rings_once_it_is_closed(check):
    async def body(rig):
        rig.add(1, now_ns())
        rig.deadlines.close()
        other = Rig()  # set later, so that the first would have rung before it
        other.add(2, now_ns() + APART_NS)
        assert await other.wait(1) == [2]
        assert rig.rung == []

    check(body)
