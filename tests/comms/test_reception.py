"""How mail from NATS gets into custody: in order, bounded, and answered when it cannot."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import pytest

from actorsys.bus import envelope
from actorsys.bus.base import Incoming
from actorsys.bus.envelope import Stamp
from actorsys.bus.local import LocalBus, LocalHub
from actorsys.comms import reception as tested
from actorsys.comms.post import WAITS
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
        self.taken = asyncio.Event()

    def post(self, letter: Letter) -> None:
        self.posted.append(decode(letter.payload))

    def note(self, note: UpNote) -> None:
        raise AssertionError(f"nothing here is noted: {note}")

    def send(self, letter: Letter) -> Awaitable[Any] | None:
        self.post(letter)
        return self.taken.wait()

    async def command(self, do: str, arguments: dict[str, Any]) -> Any:
        raise AssertionError(f"nothing here is commanded: {do}")


def run(body: Callable[..., Coroutine[Any, Any, None]], *, stands_in: bool = False) -> None:
    async def main() -> None:
        async with asyncio.timeout(10), LocalBus(LocalHub()) as bus:
            await bus.wait_connected(1.0)
            box = Box()
            reception = Reception(bus, box, name="counter", to="counter/0", run="here", stands_in=stands_in)
            await reception.open()
            await (body(bus, box, reception) if stands_in else body(bus, box))

    asyncio.run(main())


def kind_of(answer: Incoming) -> str:
    read = envelope.decode(answer.payload, limit=2**20)
    return envelope.failure(read).kind if read.message_type == "error" else read.message_type


def ask(bus: LocalBus, number: int, kind: str = "direct", **metadata: Any) -> asyncio.Task[Incoming]:
    return asyncio.create_task(bus.request(f"agents.{kind}.counter", request(number, **metadata), 5.0))


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


def test_requests_are_posted_as_they_come() -> None:
    async def body(bus: LocalBus, box: Box) -> None:
        inbound = next(each for each in bus._subscriptions if each.subject == "agents.request.counter")
        for number in range(3):
            inbound.deliver(Incoming("agents.request.counter", request(number), "answers"))
        assert box.posted == [0, 1, 2]
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


@pytest.mark.parametrize("kind", ["request", "direct"])
def test_whoever_sends_to_a_full_mailbox_hears_all_the_while_that_it_is_here(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(tested, "SAY", 0.005)
    many = 2 * CONCURRENCY  # more than may wait for custody

    async def body(bus: LocalBus, box: Box) -> None:
        words: dict[str, list[bytes]] = {}
        await bus.subscribe("_INBOX_x.*", lambda said: words.setdefault(said.subject, []).append(said.payload))
        box.noted(Full("counter/0"))
        for number in range(many):
            await bus.publish(f"agents.{kind}.counter", request(number, confirm=f"_INBOX_x.{number}"), reply="answers")
        await eventually(lambda: len(words) == many and all(said[:3] == [WAITS] * 3 for said in words.values()))
        assert box.posted == []
        box.taken.set()
        box.noted(Room("counter/0"))
        await eventually(lambda: len(box.posted) == many)
        if kind == "request":
            await eventually(lambda: all(said[-1] == b"" for said in words.values()))
        before = {subject: len(said) for subject, said in words.items()}
        await bus.publish("agents.direct.counter", request(many), reply="last")
        await eventually(lambda: len(box.posted) == many + 1)
        assert {subject: len(said) for subject, said in words.items()} == before

    run(body)


@pytest.mark.parametrize("kind", ["request", "direct"])
def test_each_message_waits_for_room_from_its_own_arrival_on(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(tested, "ROOM_TIMEOUT", 0.05)

    async def body(bus: LocalBus, box: Box) -> None:
        box.noted(Full("counter/0"))
        began = asyncio.get_running_loop().time()
        answers = await asyncio.gather(*(ask(bus, number, kind) for number in range(100)))
        assert {kind_of(answer) for answer in answers} == {"MailboxFull"}
        assert asyncio.get_running_loop().time() - began < 1.0  # one after the other they take 5 s
        assert box.posted == []

    run(body)


@pytest.mark.parametrize("kind", ["request", "direct"])
def test_what_is_too_much_for_the_line_is_refused_at_once(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(tested, "LINE", 100)

    async def body(bus: LocalBus, box: Box) -> None:
        box.noted(Full("counter/0"))
        asked = [ask(bus, number, kind) for number in range(1000)]
        await eventually(lambda: sum(each.done() for each in asked) == 900)
        assert {kind_of(each.result()) for each in asked if each.done()} == {"MailboxFull"}
        box.taken.set()
        box.noted(Room("counter/0"))
        await eventually(lambda: box.posted == list(range(100)))
        for each in asked:
            each.cancel()

    run(body)


def test_a_repetition_of_what_waits_in_a_full_line_is_not_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tested, "LINE", 1)

    async def body(bus: LocalBus, box: Box) -> None:
        answers: list[Incoming] = []
        await bus.subscribe("answers", answers.append)
        box.noted(Full("counter/0"))
        same = request(1, confirm="_INBOX_x.1")
        await send(bus, same)
        await eventually(lambda: not box.has_room("counter/0") and bus.stats().out_messages >= 2)  # it waits, and says so
        other = request(2).replace(ID.encode(), ID.replace("7", "8").encode())
        await send(bus, same, other)
        await eventually(lambda: len(answers) == 1)
        assert envelope.decode(answers[0].payload, limit=2**20).in_reply_to == ID.replace("7", "8")
        box.taken.set()
        box.noted(Room("counter/0"))
        await eventually(lambda: box.posted == [1])

    run(body)


@pytest.mark.parametrize("how", ["room", "back"])
def test_who_stands_in_for_an_agent_lets_its_mail_wait_in_custody_and_its_senders_for_room(how: str) -> None:
    async def body(bus: LocalBus, box: Box, reception: Reception) -> None:
        box.taken.set()
        box.noted(Full("counter/0"))
        asked = [ask(bus, number) for number in range(100)]
        await eventually(lambda: box.posted == list(range(100)))
        await bus.flush()
        assert not any(each.done() for each in asked)
        if how == "room":
            box.noted(Room("counter/0"))
        else:
            await reception.close()
        assert {kind_of(await each) for each in asked} == {"response"}
        assert box.posted == list(range(100))

    run(body, stands_in=True)


def test_who_stands_in_posts_nothing_to_a_mailbox_that_rejects() -> None:
    async def body(bus: LocalBus, box: Box, reception: Reception) -> None:
        box.noted(Full("counter/0", True))
        assert kind_of(await ask(bus, 1)) == "MailboxFull"
        assert box.posted == []

    run(body, stands_in=True)
