"""One frame for what a handler did; with a durable backend committed before it leaves."""

import asyncio

import msgspec
import pytest

from actorsys import Agent, Event, Request, StateError, on
from actorsys.mailbox.codec import decode_frame, encode
from actorsys.mailbox.framing import PREFIX
from actorsys.mailbox.letter import REPLY, TELL, Frame, Letter
from actorsys.memory.base import Restored, StoredFrame
from actorsys.testing.waiting import eventually


class Add(Request[int]):
    n: int


class Report(Event):
    to: str
    wait: bool = False


class Word(Event):
    text: str


class Counter(Agent):
    @on
    async def add(self, msg: Add) -> int:
        self.state["total"] = self.state.get("total", 0) + msg.n
        return self.state["total"]

    @on
    async def report(self, msg: Report) -> None:
        await self.agent(msg.to).tell(Word("one"))
        if msg.wait:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        await self.agent(msg.to).tell(Word("two"))
        self.state["reported"] = True


def framed(frame):
    data = msgspec.msgpack.encode(frame)
    return PREFIX.pack(len(data)) + data


def test_acknowledgement_and_sends_of_a_handler_leave_in_one_frame(check):
    async def body(rig):
        number = rig.tell(Report("b"))
        (frame,) = await rig.acked(number)
        assert frame.acks == [number]
        assert [letter.to for letter in frame.letters] == ["b", "b"]
        assert frame.number == 0

    check(Counter, body)


def test_a_handler_that_waits_sends_what_it_has_so_far(check):
    async def body(rig):
        number = rig.tell(Report("b", wait=True))
        first, last = await rig.acked(number)
        assert (first.acks, len(first.letters)) == ([], 1)
        assert (last.acks, len(last.letters)) == ([number], 1)

    check(Counter, body)


def test_replies_to_many_asks_share_a_frame(check):
    async def body(rig):
        numbers = [rig.ask(Add(1)) for _ in range(10)]
        frames = await rig.acked(*numbers)
        assert len(frames) == 1
        assert [(letter.kind, letter.id, letter.payload) for letter in frames[0].letters] == [
            (REPLY, number, encode(number)) for number in numbers
        ]

    check(Counter, body)


def test_with_a_durable_backend_changes_ids_and_frame_are_committed_before_it_leaves(check, durable):
    async def body(rig):
        number = rig.ask(Add(2))
        (frame,) = await rig.acked(number)
        ((changes, ids, stored),) = durable.commits
        assert changes == {"total": encode(2)}
        assert ids == (f"run.{number}",)
        assert decode_frame(stored[PREFIX.size :]) == frame
        assert frame.number > 1 << 32

    check(Counter, body, memory=durable)


def test_a_frame_that_was_taken_is_confirmed_to_the_backend(check, durable):
    async def body(rig):
        number = rig.ask(Add(2))
        (frame,) = await rig.acked(number)
        assert durable.gone == []
        rig.runtime.sending.confirmed([frame.number, 999])
        rig.runtime.sending.confirmed([frame.number])
        assert durable.gone == [(f"run.{number}",)]

    check(Counter, body, memory=durable)


def test_a_stored_message_is_not_handled_again_but_its_frame_is_sent_again(check, durable):
    frame = Frame([1, 2], [Letter(REPLY, 1, "", "", "", encode(7))], [], 99)
    restored = Restored({"total": encode(7)}, (StoredFrame(("run.1", "run.2"), framed(frame)),))

    async def body(rig):
        rig.ask(Add(1))
        assert (await rig.acked(1, 2))[0] == frame
        last = rig.tell(Report("b"))  # 2, stored as well; then 3
        assert last == 2
        number = rig.ask(Add(1))
        await rig.acked(number)
        assert rig.letters[-1].payload != encode(1)
        assert durable.commits[0][1] != ("run.1",)
        rig.runtime.sending.confirmed([99])
        assert ("run.1", "run.2") in durable.gone

    check(Counter, body, memory=durable, restored=restored)


def test_a_backend_that_cannot_write_ends_the_agent_and_nothing_leaves(check, durable):
    durable.error = StateError("the disk is full")

    async def body(rig):
        rig.ask(Add(1))
        assert await rig.runtime.sending.failure is durable.error
        assert rig.frames == []

    check(Counter, body, memory=durable)


def test_outside_a_handler_a_tell_waits_until_it_is_in_custody(check):
    async def body(rig):
        tell = asyncio.ensure_future(rig.runtime.tell("b", Word("hello")))
        (frame,) = await eventually(lambda: rig.frames)
        assert [letter.kind for letter in frame.letters] == [TELL]
        assert not tell.done()
        rig.runtime.sending.confirmed([frame.number])
        await tell

    check(Counter, body)


@pytest.mark.parametrize("is_durable", [False, True])
def test_draining_sends_all_there_is(check, durable, is_durable):
    async def body(rig):
        rig.runtime.sending.post(Letter(TELL, 0, "b", "", "", b""), None)
        await rig.runtime.sending.drain()
        await eventually(lambda: rig.letters)

    check(Counter, body, memory=durable if is_durable else None)
