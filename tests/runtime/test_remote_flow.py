"""The sending end of a stream to another node, over a bus in this process."""

import asyncio
import json
from contextlib import suppress

import pytest

from actorsys import AskTimeout, BadMessage
from actorsys.bus import envelope, stamp
from actorsys.bus.local import LocalBus
from actorsys.comms import translate
from actorsys.comms.post import Post
from actorsys.mailbox.codec import encode
from actorsys.mailbox.letter import STREAM, STREAM_WINDOW
from actorsys.runtime import remote_flow
from actorsys.runtime.context import Delivery
from actorsys.runtime.remote_flow import Outflows
from actorsys.runtime.state import State
from actorsys.testing.waiting import eventually


class Pushing(LocalBus):
    async def push(self):
        """All that was published has left already."""


class Rig:
    async def start(self, stream):
        self.bus = Pushing()
        await self.bus.start()
        self.got, self.cancelled, self.counted = [], [], []
        await self.bus.subscribe("_INBOX_me.>", self._take)
        self.outflows = Outflows(
            self.bus,
            Post(self.bus, "a"),
            "_INBOX_a",
            ready=self._ready,
            cancel=self.cancelled.append,
            count=lambda letter: self.counted.append(letter.id),
        )
        asked = envelope.request("me", "a", {"type": "Count"}, stamp.fresh(), metadata={"stream": stream})
        letter = translate.letter(asked, "request", "_INBOX_me.reply", "a", run="r", now=1)
        assert letter.flags & STREAM
        letter.id = 7
        self.letter = letter
        self.flow = self.outflows.make(Delivery(letter, asyncio.current_task(), State({})), None)
        return self

    async def _ready(self):
        pass

    def _take(self, incoming):
        read = json.loads(incoming.payload)
        self.got.append((incoming.subject.removeprefix("_INBOX_me."), read["content"], read["metadata"].get("stream")))

    async def run(self, handler):
        await self.flow.begin()
        await self.watch(handler)

    async def watch(self, handler):
        async with self.flow.watched():
            await handler()

    async def arrived(self, count):
        await eventually(lambda: len(self.got) >= count)
        return self.got

    @property
    def control(self):
        return self.outflows.subject(7)


@pytest.fixture
def run():
    def runner(body, stream=True):
        async def main():
            async with asyncio.timeout(20):
                rig = await Rig().start(stream)
                try:
                    await body(rig)
                finally:
                    await rig.bus.drain(1.0)

        asyncio.run(main())

    return runner


@pytest.mark.parametrize(
    ("stream", "to"),
    [(True, "reply"), ({}, "reply"), ({"to": "_INBOX_me.parts"}, "parts"), ({"to": "agents.all"}, "reply"), ({"to": 5}, "reply")],
)
def test_the_opening_goes_to_the_reply_subject_and_the_parts_where_they_are_wanted(run, stream, to):
    async def body(rig):
        await rig.flow.begin()
        await rig.flow.put(encode("x"))
        await rig.flow.put(encode("y" * 5000))
        await rig.flow.end()
        opening = {"control": rig.control, "window": STREAM_WINDOW}
        assert await rig.arrived(4) == [
            ("reply", None, opening),
            (to, "x", {"seq": 0, "cost": 1, **opening}),
            (to, "y" * 5000, {"seq": 1, "cost": 2}),
            (to, None, {"end": True, "seq": 2}),
        ]
        assert rig.letter.headers["reply"] == f"_INBOX_me.{to}"  # of an error, too
        assert rig.counted == [7]

    run(body, stream)


def test_a_reader_without_credit_gets_a_window_and_then_an_error(run, monkeypatch):
    monkeypatch.setattr(remote_flow, "CREDIT_WAIT", 0.05)

    async def body(rig):
        await rig.flow.begin()
        for n in range(STREAM_WINDOW):
            await rig.flow.put(encode(n))
        with pytest.raises(AskTimeout, match="gave no credit for 50ms"):
            await rig.watch(lambda: rig.flow.put(encode("more")))

    run(body)


@pytest.mark.slow
def test_a_slow_handler_is_ended_when_its_reader_says_nothing_any_more(run, monkeypatch):
    monkeypatch.setattr(remote_flow, "CREDIT_WAIT", 0.15)

    async def body(rig):
        said = []

        async def handler():
            await rig.flow.put(encode("x"))  # and the next part takes long
            while len(said) < 6:
                said.append(await rig.bus.publish(rig.control, b'{"credit": 0}'))
                await asyncio.sleep(0.05)
            await asyncio.Event().wait()

        with pytest.raises(AskTimeout, match="gave no credit for 150ms"):
            await rig.run(handler)
        assert len(said) == 6
        assert asyncio.current_task().cancelling() == 0

    run(body)


def test_a_handler_that_swallows_its_end_can_send_no_more(run, monkeypatch):
    monkeypatch.setattr(remote_flow, "CREDIT_WAIT", 0.03)

    async def body(rig):
        async def handler():
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await rig.flow.put(encode("x"))

        with pytest.raises(AskTimeout):
            await rig.run(handler)
        assert len(await rig.arrived(1)) == 1

    run(body)


def test_while_nats_is_away_no_reader_is_thought_gone(run, monkeypatch):
    monkeypatch.setattr(remote_flow, "CREDIT_WAIT", 0.03)

    async def body(rig):
        was_there = asyncio.Event()

        async def handler():
            monkeypatch.setattr(Pushing, "is_connected", False)
            await asyncio.sleep(0.1)
            monkeypatch.setattr(Pushing, "is_connected", True)
            was_there.set()
            await asyncio.Event().wait()

        with pytest.raises(AskTimeout):
            await rig.run(handler)
        assert was_there.is_set()

    run(body)


def test_a_timeout_of_the_handler_stays_its_own(run):
    async def body(rig):
        async def handler():
            raise TimeoutError("mine")

        with pytest.raises(TimeoutError, match="mine"):
            await rig.run(handler)

    run(body)


@pytest.mark.slow
def test_a_reader_that_says_it_is_there_is_waited_for(run, monkeypatch):
    monkeypatch.setattr(remote_flow, "CREDIT_WAIT", 0.3)

    async def body(rig):
        await rig.flow.begin()
        for n in range(STREAM_WINDOW):
            await rig.flow.put(encode(n))

        waiting = asyncio.ensure_future(rig.watch(lambda: rig.flow.put(encode("more"))))
        for _ in range(5):
            await asyncio.sleep(0.1)
            await rig.bus.publish(rig.control, b'{"credit": 0}')
        assert not waiting.done()
        await rig.bus.publish(rig.control, b'{"credit": -5}')
        await rig.bus.publish(rig.control, b'{"credit": 1}')
        await waiting

    run(body)


def test_a_reader_may_close_the_stream(run):
    async def body(rig):
        await rig.flow.begin()
        await rig.bus.publish(rig.control, b"[" * 10_000)
        await rig.bus.publish(rig.control, b'{"close": true}')
        await eventually(lambda: rig.cancelled == [7])
        rig.flow.close()
        await rig.bus.publish(rig.control, b'{"close": true}')
        await rig.bus.publish(rig.outflows.subject(8), b'{"close": true}')
        await asyncio.sleep(0.01)
        assert rig.cancelled == [7]

    run(body)


def test_a_part_that_nats_cannot_carry_fails_the_handler(run):
    async def body(rig):
        await rig.flow.begin()
        with pytest.raises(BadMessage, match="cannot be sent"):
            await rig.flow.put(encode("x" * 2**21))

    run(body)
