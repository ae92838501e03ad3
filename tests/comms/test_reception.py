"""How mail from NATS gets into custody: in order, bounded, and answered when it cannot."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from actorsys.bus import envelope
from actorsys.bus.base import Incoming
from actorsys.bus.envelope import Stamp
from actorsys.bus.local import LocalBus, LocalHub
from actorsys.comms.reception import CONCURRENCY, Reception
from actorsys.mailbox.codec import decode
from actorsys.mailbox.letter import Full, Letter, Room, UpNote
from actorsys.mailbox.outbox import Outbox
from actorsys.testing.waiting import eventually

ID = "7f1f0cb4-9a3f-4b6e-8f3d-0d4f7f3c1f11"


class Box(Outbox):
    """An outbox whose other end is the test: it says what is in custody."""

    def __init__(self) -> None:
        super().__init__("counter")
        self.posted: list[int] = []
        self.flushes = 0
        self.taken = asyncio.Event()

    def post(self, letter: Letter) -> None:
        self.posted.append(decode(letter.payload))

    def flush(self) -> None:
        self.flushes += 1

    def note(self, note: UpNote) -> None:
        raise AssertionError(f"nothing here is noted: {note}")

    async def custody(self) -> None:
        await self.taken.wait()

    async def command(self, do: str, arguments: dict[str, Any]) -> Any:
        raise AssertionError(f"nothing here is commanded: {do}")


def run(body: Callable[[LocalBus, Box], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10), LocalBus(LocalHub()) as bus:
            await bus.wait_connected(1.0)
            box = Box()
            reception = Reception(bus, box, name="counter", to="counter/0", run="here")
            await reception.open()
            await body(bus, box)

    asyncio.run(main())


def request(number: int, **metadata: Any) -> bytes:
    stamp = Stamp(ID, datetime(2026, 1, 2, tzinfo=UTC))
    return envelope.encode(envelope.request("plain", "counter", number, stamp, metadata=metadata))


async def send(bus: LocalBus, *data: bytes) -> None:
    for each in data:
        await bus.publish("agents.request.counter", each, reply="answers")


def test_requests_that_wait_for_room_and_those_behind_them_are_posted_in_order() -> None:
    async def body(bus: LocalBus, box: Box) -> None:
        inbound = next(each for each in bus._subscriptions if each.subject == "agents.request.counter")
        box.noted(Full("counter/0"))
        await send(bus, *(request(number) for number in range(5)))
        await eventually(lambda: bus.stats().in_messages == 5)
        for _ in range(5):  # turns of the loop, until all of them wait for room
            await asyncio.sleep(0)
        assert box.posted == []
        box.noted(Room("counter/0"))
        for number in range(5, 10):  # there is room again, but those that waited have not noticed yet
            inbound.deliver(Incoming("agents.request.counter", request(number), "answers"))
        await eventually(lambda: len(box.posted) == 10)
        assert box.posted == list(range(10))
        box.taken.set()

    run(body)


def test_no_more_requests_are_under_way_to_custody_than_its_bounds_allow() -> None:
    async def body(bus: LocalBus, box: Box) -> None:
        await send(bus, *(request(number) for number in range(4 * CONCURRENCY)))
        await eventually(lambda: len(box.posted) == 2 * CONCURRENCY)
        await asyncio.sleep(0)
        assert len(box.posted) == 2 * CONCURRENCY
        box.taken.set()
        await eventually(lambda: len(box.posted) == 4 * CONCURRENCY)
        assert box.posted == list(range(4 * CONCURRENCY))

    run(body)


def test_requests_of_one_turn_share_a_flush() -> None:
    async def body(bus: LocalBus, box: Box) -> None:
        await send(bus, *(request(number) for number in range(3)))
        await eventually(lambda: len(box.posted) == 3)
        assert box.flushes == 1
        await asyncio.sleep(0)
        await send(bus, request(3))
        await eventually(lambda: len(box.posted) == 4)
        assert box.flushes == 2
        box.taken.set()

    run(body)


@pytest.mark.parametrize("metadata", [{"confirm": "_INBOX_x.1"}])
def test_a_request_that_wants_it_is_confirmed_only_when_it_is_in_custody(metadata: dict[str, Any]) -> None:
    async def body(bus: LocalBus, box: Box) -> None:
        confirmed: list[Incoming] = []
        await bus.subscribe("_INBOX_x.*", confirmed.append)
        await send(bus, request(1, **metadata))
        await eventually(lambda: box.posted == [1])
        assert confirmed == []
        box.taken.set()
        await eventually(lambda: len(confirmed) == 1)

    run(body)


def test_bytes_that_are_no_envelope_are_answered() -> None:
    async def body(bus: LocalBus, box: Box) -> None:
        answers: list[Incoming] = []
        await bus.subscribe("answers", answers.append)
        await send(bus, b"hello")
        await eventually(lambda: len(answers) == 1)
        assert envelope.failure(envelope.decode(answers[0].payload, limit=2**20)).kind == "BadMessage"
        assert box.posted == []

    run(body)
