import asyncio
from typing import Any

import pytest

from actorsys.comms.lane import Lane
from actorsys.errors import MailboxFull
from actorsys.testing.waiting import eventually


class Kept:
    """A handler that waits until it is let through."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.gate = asyncio.Event()
        self.most = self.now = 0

    async def __call__(self, item: Any) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        await self.gate.wait()
        self.now -= 1
        self.items.append(item)


def test_one_at_a_time_the_urgent_ones_first_and_else_in_order(run: Any) -> None:
    async def main() -> None:
        kept = Kept()
        lane: Lane[Any] = Lane(kept, name="a")
        for item, priority in (("first", 3), ("b", 3), ("c", 5), ("d", 1), ("e", 3), ("f", 1)):
            lane.put(item, priority)
            await asyncio.sleep(0)
        assert lane.is_busy
        kept.gate.set()
        await lane.drain()
        assert kept.items == ["first", "d", "f", "b", "e", "c"]
        assert kept.most == 1
        assert not lane.is_busy

    run(main)


def test_a_low_priority_does_not_wait_for_ever(run: Any) -> None:
    async def main() -> None:
        order: list[str] = []
        lane: Lane[str]

        async def handle(item: str) -> None:
            order.append(item)
            if len(order) < 500:
                lane.put("urgent", 1)

        lane = Lane(handle, name="a", size=10)
        lane.put("urgent", 1)
        lane.put("low", 5)
        await eventually(lambda: not lane.is_busy)
        assert order.index("low") < 100

    run(main)


def test_several_at_once_if_so_wished(run: Any) -> None:
    async def main() -> None:
        kept = Kept()
        lane: Lane[Any] = Lane(kept, name="a", concurrency=3)
        for number in range(10):
            lane.put(number)
        await asyncio.sleep(0)
        kept.gate.set()
        await lane.drain()
        assert kept.most == 3
        assert sorted(kept.items) == list(range(10))

    run(main)


def test_a_full_lane_refuses(run: Any) -> None:
    async def main() -> None:
        kept = Kept()
        lane: Lane[Any] = Lane(kept, name="bob", size=2)
        lane.put(0)
        await asyncio.sleep(0)  # it runs and waits no more
        lane.put(1)
        lane.put(2)
        with pytest.raises(MailboxFull, match="bob has 2 messages waiting"):
            lane.put(3)
        kept.gate.set()
        await lane.drain()
        assert kept.items == [0, 1, 2]
        assert lane.refused == 1
        with pytest.raises(MailboxFull, match="takes nothing more"):
            lane.put(4)

    run(main)


def test_what_goes_wrong_in_a_handler_ends_nothing(run: Any, caplog: Any) -> None:
    async def main() -> None:
        seen: list[int] = []

        async def handle(item: int) -> None:
            seen.append(item)
            if item == 1:
                raise ValueError("one")
            if item == 2:
                raise asyncio.CancelledError

        lane = Lane(handle, name="a")
        for item in (1, 2, 3):
            lane.put(item)
        await lane.drain()
        assert seen == [1, 2, 3]

    run(main)
    assert "one" in caplog.text


def test_close_cancels_and_says_how_much_is_lost(run: Any) -> None:
    async def main() -> None:
        kept = Kept()
        lane: Lane[Any] = Lane(kept, name="a")
        for item in range(4):
            lane.put(item)
        await asyncio.sleep(0)
        assert await lane.close() == 3
        assert kept.items == []
        assert not lane.is_busy

    run(main)
