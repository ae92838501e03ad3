"""The reader's side of a stream, through an outbox that keeps what it was given to send."""

import asyncio
import contextlib
import gc
import threading

import pytest

from actorsys import AgentDown, AskTimeout, BadMessage, RemoteError, Request, UnknownAgent
from actorsys.clock import now_ns
from actorsys.mailbox.codec import encode
from actorsys.mailbox.letter import (
    ASK,
    FAIL_WHEN_DOWN,
    FAILURE,
    PART,
    REPLY,
    STREAM,
    STREAM_WINDOW,
    Credit,
    Forget,
    Letter,
)
from actorsys.mailbox.outbox import Outbox
from actorsys.mailbox.stream import BATCH, Parts
from actorsys.messages import Failure
from actorsys.testing.waiting import eventually


class Count(Request[int]):
    n: int = 0


class Recorder(Outbox):
    """Sends nothing, and keeps what it was given to send."""

    def __init__(self):
        super().__init__("me")
        self.letters, self.notes, self.here = [], [], True

    def post(self, letter):
        self.letters.append(letter)

    def note(self, note):
        self.notes.append(note)

    def send(self, letter):
        self.post(letter)

    async def command(self, do, arguments):
        return {"here": self.here}

    def part(self, value):
        self.replied(Letter(PART, self.letters[-1].id, "me", "", "", encode(value)))

    def end(self, error=None):
        number = self.letters[-1].id
        if error is None:
            self.replied(Letter(REPLY, number, "me", "", "", encode(None)))
        else:
            self.replied(Letter(FAILURE, number, "me", "", "", encode(Failure.of(error))))

    def stream(self, to="a", message=None, *, timeout=20.0, priority=3, when_down="wait"):
        return super().stream(to, message or Count(), timeout=timeout, priority=priority, when_down=when_down)


class Far:
    """Stands for the way to other nodes."""

    def __init__(self):
        self.parts = Parts(lambda part: part, lambda units: None, lambda: None)
        self.parts.put("far", 1)
        self.parts.end()

    async def stream(self, letter, trace, expected):
        return self.parts


@pytest.fixture
def run():
    def runner(body):
        async def main():
            async with asyncio.timeout(20):
                await body(Recorder())

        asyncio.run(main())

    return runner


async def opened(outbox, **more):
    """A stream whose ask is on its way, and the wait for its first part."""
    stream = outbox.stream(**more)
    first = asyncio.ensure_future(anext(stream))
    await eventually(lambda: outbox.letters)
    return stream, first


def test_a_stream_is_asked_for_when_its_first_part_is_waited_for(run):
    async def body(outbox):
        stream = outbox.stream(timeout=10.0, priority=2, when_down="fail")
        assert outbox.letters == []
        first = asyncio.ensure_future(anext(stream))
        await eventually(lambda: outbox.letters)
        (letter,) = outbox.letters
        assert (letter.kind, letter.flags, letter.priority) == (ASK, STREAM | FAIL_WHEN_DOWN, 2)
        assert 9 * 10**9 < letter.deadline - now_ns() <= 10**10
        outbox.part(1)
        assert await first == 1
        await stream.aclose()

    run(body)


def test_what_is_asked_is_what_the_message_was_when_stream_was_called(run):
    async def body(outbox):
        message = {"n": [1]}
        stream = outbox.stream(message=message)
        message["n"].append(2)
        first = asyncio.ensure_future(anext(stream))
        await eventually(lambda: outbox.letters)
        assert outbox.letters[0].payload == encode({"n": [1]})
        outbox.end()
        with pytest.raises(StopAsyncIteration):
            await first

    run(body)


def test_parts_come_in_order_until_the_end(run):
    async def body(outbox):
        stream, first = await opened(outbox)
        for value in range(3):
            outbox.part(value)
        outbox.end()
        assert [await first, *[part async for part in stream]] == [0, 1, 2]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert outbox.notes == []
        assert outbox._streams == {}

    run(body)


def test_an_error_comes_after_the_parts_that_came_before_it(run):
    async def body(outbox):
        stream, first = await opened(outbox)
        outbox.part(1)
        outbox.part(2)
        outbox.end(ValueError("no"))
        assert [await first, await anext(stream)] == [1, 2]
        with pytest.raises(RemoteError, match="ValueError: no"):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(body)


def test_credit_goes_back_as_parts_are_read_half_a_window_at_a_time(run):
    async def body(outbox):
        stream, first = await opened(outbox)
        for value in range(STREAM_WINDOW):
            outbox.part(value)
        await first
        for _ in range(BATCH - 2):
            await anext(stream)
        assert outbox.notes == []
        await anext(stream)
        assert outbox.notes == [Credit(outbox.letters[0].id, BATCH)]
        await stream.aclose()

    run(body)


def test_a_large_part_weighs_more(run):
    async def body(outbox):
        stream = outbox.stream(message={"type": "Any"})
        first = asyncio.ensure_future(anext(stream))
        await eventually(lambda: outbox.letters)
        outbox.part(bytes(4096 * 200))
        await first
        assert outbox.notes == [Credit(outbox.letters[0].id, 201)]
        await stream.aclose()

    run(body)


async def left_by_break(outbox, stream):
    async for _ in stream:
        break
    del stream


async def closed(outbox, stream):
    await anext(stream)
    await stream.aclose()


async def dropped(outbox, stream):
    await anext(stream)
    del stream


async def failed(outbox, stream):
    with contextlib.suppress(ZeroDivisionError):
        async for _ in stream:
            1 / 0  # noqa: B018 - that is the failure
    del stream


async def cancelled(outbox, stream):
    await anext(stream)
    task = asyncio.ensure_future(anext(stream))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])


@pytest.mark.parametrize("leave", [left_by_break, closed, dropped, failed, cancelled])
def test_a_stream_that_is_left_stops_its_handler_at_once(run, leave):
    async def body(outbox):
        original = outbox.post

        def post(letter):
            original(letter)
            asyncio.get_running_loop().call_soon(outbox.part, 1)

        outbox.post = post
        await leave(outbox, outbox.stream())
        assert outbox.notes == [Forget(outbox.letters[0].id)]
        assert outbox._streams == {}
        outbox.part(2)  # what is under way is dropped

    run(body)


def test_a_stream_that_was_never_read_sends_nothing(run):
    async def body(outbox):
        stream = outbox.stream()
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        assert (outbox.letters, outbox.notes) == ([], [])

    run(body)


def test_a_stream_that_another_thread_collects_is_closed_by_its_own_loop(run):
    async def body(outbox):
        stream, first = await opened(outbox)
        outbox.part(1)
        await first
        holder = [stream]
        del stream, first
        gc.collect()
        thread = threading.Thread(target=holder.clear)
        thread.start()
        await eventually(lambda: outbox.notes == [Forget(outbox.letters[0].id)])
        thread.join()

    run(body)


def test_a_stream_may_outlive_its_loop():
    outbox = Recorder()
    kept = []

    async def main():
        stream, first = await opened(outbox)
        outbox.part(1)
        await first
        kept.append(stream)

    asyncio.run(main())
    kept.clear()
    assert outbox.notes == []


@pytest.mark.parametrize("parts", [0, 1])
def test_a_part_that_does_not_come_in_time_is_an_ask_timeout(run, parts):
    async def body(outbox):
        stream, first = await opened(outbox, timeout=0.05)
        if parts:
            outbox.part(1)
            await first
            first = anext(stream)
        with pytest.raises(AskTimeout, match="'a' sent no part within 50ms"):
            await first
        assert outbox.notes == [Forget(outbox.letters[0].id)]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(body)


def test_a_part_of_another_type_is_a_bad_message_and_ends_the_stream(run):
    async def body(outbox):
        stream, first = await opened(outbox)
        outbox.part("text")
        with pytest.raises(BadMessage, match="a part of the stream is not of the type that the request names"):
            await first
        assert outbox.notes == [Forget(outbox.letters[0].id)]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(body)


def test_two_tasks_cannot_read_one_stream(run):
    async def body(outbox):
        stream, first = await opened(outbox)
        with pytest.raises(RuntimeError, match="two tasks read the same stream"):
            await anext(stream)
        outbox.part(1)
        assert await first == 1
        await stream.aclose()

    run(body)


def test_streams_end_when_no_answer_will_come_any_more(run):
    async def body(outbox):
        _, first = await opened(outbox)
        outbox.give_up(AgentDown("it is over"))
        with pytest.raises(AgentDown, match="it is over"):
            await first

    run(body)


@pytest.mark.parametrize(("options", "field"), [({"priority": 6}, "priority"), ({"timeout": -1}, "timeout")])
def test_wrong_options_are_a_bad_message_at_once(run, options, field):
    async def body(outbox):
        with pytest.raises(BadMessage) as caught:
            outbox.stream(**options)
        assert caught.value.field == field

    run(body)


def test_a_name_that_is_not_of_this_node_is_looked_for_elsewhere(run):
    async def body(outbox):
        outbox.far, outbox.here = Far(), False
        assert [part async for part in outbox.stream()] == ["far"]
        assert outbox.letters == []

    run(body)


def test_a_name_that_has_left_this_node_is_looked_for_elsewhere(run):
    async def body(outbox):
        outbox.far, outbox.here = Far(), True
        reading = asyncio.ensure_future(anext(outbox.stream()))
        await eventually(lambda: outbox.letters)
        outbox.here = False
        outbox.end(UnknownAgent("no agent is named 'a'"))
        assert await reading == "far"

    run(body)


def test_an_unknown_name_of_this_node_stays_one(run):
    async def body(outbox):
        outbox.far = Far()
        _, first = await opened(outbox)
        outbox.end(UnknownAgent("no agent is named 'a'"))
        with pytest.raises(UnknownAgent):
            await first

    run(body)


def test_what_cannot_be_posted_leaves_nothing_behind(run):
    async def body(outbox):
        def refuse(letter):
            raise UnknownAgent("nobody")

        outbox.post = refuse
        with pytest.raises(UnknownAgent):
            await anext(outbox.stream())
        assert outbox._streams == {}

    run(body)
