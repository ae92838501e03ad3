import asyncio

import pytest

from actorsys.mailbox.letter import TELL
from actorsys.runtime.timers import INCARNATION, Timers
from actorsys.testing.waiting import eventually


def check(body, incarnation=3):
    async def main():
        letters = []
        timers = Timers("clock/0", incarnation, letters.append)
        try:
            await body(timers, letters)
        finally:
            timers.close()

    asyncio.run(main())


def test_after_sends_once_through_the_mailbox():
    async def body(timers, letters):
        timers.start(0.001, "m:Tick", b"p", repeat=False)
        (letter,) = await eventually(lambda: letters)
        assert (letter.kind, letter.to, letter.type, letter.payload) == (TELL, "clock/0", "m:Tick", b"p")
        assert timers.takes(letter.headers)
        assert not timers.takes(letter.headers)
        assert timers._entries == {}

    check(body)


def test_every_sends_again_only_when_the_last_one_was_taken():
    async def body(timers, letters):
        timers.start(0.001, "m:Tick", b"", repeat=True)
        timers.start(0.02, "m:Late", b"", repeat=False)
        await eventually(lambda: letters[-1].type == "m:Late" if letters else False)
        assert [letter.type for letter in letters] == ["m:Tick", "m:Late"]
        for count in (3, 4):
            assert timers.takes(letters[0].headers)
            await eventually(lambda count=count: len(letters) == count)

    check(body)


def test_a_cancelled_timer_sends_nothing_and_what_is_under_way_is_not_taken():
    async def body(timers, letters):
        timer = timers.start(0.001, "m:Tick", b"", repeat=True)
        never = timers.start(0.0005, "m:Never", b"", repeat=False)
        never.cancel()
        await eventually(lambda: letters)
        timer.cancel()
        timer.cancel()
        assert not timers.takes(letters[0].headers)
        timers.start(0.005, "m:Late", b"", repeat=False)
        await eventually(lambda: len(letters) == 2)
        assert letters[1].type == "m:Late"

    check(body)


def test_a_tick_of_an_earlier_life_is_not_taken():
    async def body(timers, letters):
        timers.start(0.001, "m:Tick", b"", repeat=True)
        await eventually(lambda: letters)
        headers = letters[0].headers
        assert not timers.takes({**headers, INCARNATION: 2})
        assert timers.takes(headers)
        assert timers.takes({INCARNATION: 3})
        assert timers.takes({"reply": "no timer at all"})

    check(body)


@pytest.mark.parametrize(("seconds", "repeat"), [(-1, False), (-1, True), (0, True)])
def test_a_time_that_cannot_be_is_an_error(seconds, repeat):
    async def body(timers, letters):
        with pytest.raises(ValueError, match="a timer needs a positive number of seconds"):
            timers.start(seconds, "m:Tick", b"", repeat=repeat)

    check(body)
