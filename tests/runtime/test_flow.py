"""Handlers that stream, in a runtime whose supervisor is the test."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from actorsys import Agent, Event, Request, StateError, on
from actorsys.clock import now_ns
from actorsys.mailbox.codec import decode
from actorsys.mailbox.letter import FAILURE, PART, REPLY, STREAM, STREAM_WINDOW, TELL
from actorsys.messages import Failure
from actorsys.testing.waiting import eventually


class Count(Request[int]):
    n: int
    fails: bool = False


class Large(Request[bytes]):
    n: int
    size: int


class Wait(Request[int]):
    pass


class Stubborn(Request[int]):
    pass


class Busy(Request[int]):
    pass


class Plain(Request[int]):
    pass


class Note(Event):
    text: str


class Counter(Agent):
    def __init__(self):
        self.closed = []
        self.left = []

    @on
    async def count(self, msg: Count) -> AsyncIterator[int]:
        self.left.append(self.message.deadline)
        for n in range(msg.n):
            self.state["last"] = n
            yield n
            if msg.n < STREAM_WINDOW:
                await self.agent("other").tell(Note(str(n)))
        if msg.fails:
            raise ValueError("no")

    @on
    async def large(self, msg: Large) -> AsyncIterator[bytes]:
        for _ in range(msg.n):
            yield bytes(msg.size)

    @on
    async def wait(self, msg: Wait) -> AsyncIterator[int]:
        self.state["waited"] = True
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            self.closed.append("wait")

    @on
    async def stubborn(self, msg: Stubborn) -> AsyncIterator[int]:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            yield 1
            self.closed.append("never")

    @on
    async def busy(self, msg: Busy) -> AsyncIterator[int]:
        for n in range(4):
            time.sleep(0.02)  # noqa: ASYNC251 - it is busy, that is the point
            yield n

    @on
    def plain(self, msg: Plain) -> int:
        return 7

    async def receive(self, message):
        for part in message.payload:
            yield part


def stream(rig, message, **more):
    return rig.ask(message, flags=STREAM, **more)


def parts(rig):
    return [decode(letter.payload) for letter in rig.letters if letter.kind == PART]


async def ended(rig, number):
    await rig.acked(number)
    return next(letter for letter in rig.letters if letter.kind in (REPLY, FAILURE) and letter.id == number)


def test_what_a_handler_yields_leaves_as_numbered_parts_before_an_empty_reply(check):
    async def body(rig):
        number = stream(rig, Count(3))
        end = await ended(rig, number)
        assert [(letter.id, letter.ordinal, decode(letter.payload)) for letter in rig.letters if letter.kind == PART] == [
            (number, 1, 0),
            (number, 2, 1),
            (number, 3, 2),
        ]
        assert (end.kind, end.ordinal, decode(end.payload)) == (REPLY, 3, None)

    check(Counter, body)


def test_parts_keep_their_place_among_what_the_handler_sends(check):
    async def body(rig):
        await ended(rig, stream(rig, Count(2)))
        assert [letter.kind for letter in rig.letters] == [PART, TELL, PART, TELL, REPLY]
        assert len(rig.frames) == 1  # it never waited

    check(Counter, body)


def test_a_handler_that_fails_loses_its_state_and_its_tells_but_not_what_it_has_yielded(check):
    async def body(rig):
        end = await ended(rig, stream(rig, Count(2, fails=True)))
        assert (end.kind, decode(end.payload, Failure).type) == (FAILURE, "ValueError")
        assert [letter.kind for letter in rig.letters] == [PART, PART, FAILURE]
        assert dict(rig.agent.state) == {}

    check(Counter, body)


def test_a_plain_handler_makes_a_stream_of_one_part(check):
    async def body(rig):
        end = await ended(rig, stream(rig, Plain()))
        assert (parts(rig), end.ordinal) == ([7], 1)

    check(Counter, body)


def test_receive_may_stream(check):
    async def body(rig):
        await ended(rig, stream(rig, ["a", "b"]))
        assert parts(rig) == ["a", "b"]

    check(Counter, body)


@pytest.mark.parametrize(
    ("message", "what"), [(Count(1), "Count"), ({"type": "Count", "n": 1}, "Count"), (["a"], "this message")]
)
def test_asking_a_handler_that_streams_is_refused_before_it_runs(check, message, what):
    async def body(rig):
        end = await ended(rig, rig.ask(message))
        failure = decode(end.payload, Failure)
        assert (end.kind, failure.kind) == (FAILURE, "BadMessage")
        assert failure.message.startswith(f"{what} is answered in parts; read them with `async for part in ref.stream(...)`")
        assert rig.agent.left == []

    check(Counter, body)


def test_a_handler_that_streams_may_be_told_and_its_parts_are_dropped(check):
    async def body(rig):
        await rig.acked(rig.tell(Count(3)))
        assert {letter.kind for letter in rig.letters} == {TELL}
        assert rig.agent.state["last"] == 2

    check(Counter, body)


def test_without_credit_the_handler_waits_at_its_yield(check):
    async def body(rig):
        number = stream(rig, Count(10_000))
        await eventually(lambda: len(parts(rig)) == STREAM_WINDOW)
        rig.runtime.granted(number, 10)
        rig.runtime.granted(999, 10)
        await eventually(lambda: len(parts(rig)) == STREAM_WINDOW + 10)
        assert rig.agent.state["last"] == STREAM_WINDOW + 10
        rig.runtime.cancel(number)
        await rig.acked(number)
        assert parts(rig) == [*range(STREAM_WINDOW + 10)]

    check(Counter, body)


def test_large_parts_use_credit_up_by_their_size_and_one_may_be_larger_than_the_window(check):
    async def body(rig):
        number = stream(rig, Large(3, STREAM_WINDOW * 4096 * 2))
        await eventually(lambda: len(parts(rig)) == 1)
        rig.runtime.granted(number, STREAM_WINDOW)
        await asyncio.sleep(0.01)
        assert len(parts(rig)) == 1
        rig.runtime.granted(number, 2 * STREAM_WINDOW)
        await eventually(lambda: len(parts(rig)) == 2)
        rig.runtime.cancel(number)
        await rig.acked(number)

    check(Counter, body)


@pytest.mark.parametrize("n", [1, 10_000], ids=["in its own wait", "at its yield"])
def test_a_stream_that_nobody_reads_any_more_is_closed_and_rolled_back(check, n):
    async def body(rig):
        number = stream(rig, Wait() if n == 1 else Count(n))
        await eventually(lambda: len(parts(rig)) == (1 if n == 1 else STREAM_WINDOW))
        rig.runtime.cancel(number)
        await rig.acked(number, rig.tell(Note("next")))
        assert rig.agent.closed == (["wait"] if n == 1 else [])
        assert dict(rig.agent.state) == {}
        assert [letter.kind for letter in rig.letters if letter.kind != TELL] == [PART] * len(parts(rig))

    check(Counter, body)


def test_a_handler_that_swallows_its_cancellation_is_stopped_at_its_next_yield(check):
    async def body(rig):
        number = stream(rig, Stubborn())
        await eventually(lambda: number in rig.runtime.sending.open)
        await asyncio.sleep(0)
        rig.runtime.cancel(number)
        await rig.acked(number)
        assert (rig.agent.closed, rig.letters) == ([], [])

    check(Counter, body)


def test_parts_of_a_handler_that_is_busy_leave_as_time_passes(check):
    async def body(rig):
        await ended(rig, stream(rig, Busy()))
        assert len([frame for frame in rig.frames if any(letter.kind == PART for letter in frame.letters)]) == 4

    check(Counter, body)


def test_the_deadline_of_a_stream_holds_until_its_handler_begins(check):
    async def body(rig):
        await ended(rig, stream(rig, Count(1), deadline=now_ns() + 10**12))
        assert rig.agent.left == [None]
        await rig.acked(stream(rig, Count(1), deadline=now_ns() - 1))
        assert rig.agent.left == [None]

    check(Counter, body)


def test_a_part_that_cannot_be_sent_fails_the_handler(check):
    async def body(rig):
        rig.runtime.max_payload = 100
        end = await ended(rig, stream(rig, Large(1, 1000)))
        assert decode(end.payload, Failure).kind == "BadMessage"

    check(Counter, body)


def test_the_end_of_a_stream_does_not_pass_its_parts_while_the_backend_cannot_write(check, durable):
    async def body(rig):
        durable.error = StateError("full", reason="full")
        rig.runtime.sending.is_patient = True
        rig.tell(Count(1))  # changes the state
        await eventually(lambda: rig.runtime.sending.is_held)
        number = stream(rig, Wait())
        large = stream(rig, Large(2, 10))
        await eventually(lambda: number in rig.runtime.sending.open)
        rig.runtime.cancel(number)
        await eventually(lambda: rig.runtime.sending.open == {})
        assert parts(rig) == []
        durable.error = None
        await rig.acked(large)
        assert [letter.kind for letter in rig.letters if letter.id == large] == [PART, PART, REPLY]

    check(Counter, body, memory=durable)
