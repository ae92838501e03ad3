"""The reader's side of a stream from another node, over a bus in this process."""

import asyncio
import json

import pytest

from actorsys import AgentDown, BadMessage, RemoteError, Unreachable
from actorsys.bus import envelope, stamp
from actorsys.bus.base import Incoming
from actorsys.bus.local import LocalBus
from actorsys.comms import streams
from actorsys.comms.streams import Inflows
from actorsys.mailbox.letter import STREAM_WINDOW
from actorsys.mailbox.stream import BATCH
from actorsys.messages import Failure
from actorsys.testing.waiting import eventually

CONTROL = "_INBOX.control"


class Rig:
    """A stream that "me" reads of "b", and what goes to `agents.direct.b` and to the control subject."""

    async def start(self):
        self.bus = LocalBus()
        await self.bus.start()
        self.notices, self.said = [], []
        await self.bus.subscribe("agents.direct.b", lambda incoming: self.notices.append(json.loads(incoming.payload)))
        await self.bus.subscribe("_INBOX.>", lambda incoming: self.said.append(json.loads(incoming.payload)))
        self.inflows = Inflows(self.bus)
        self.asked = envelope.request("me", "b", {"type": "Count"}, stamp.fresh())
        self.inflow = self.inflows.begin("s", self.asked, lambda part: part)
        return self

    def opened(self, **said):
        self.inflow.opened(self.response(None, {"control": CONTROL, "window": 256, **said}))

    def response(self, content, said):
        return envelope.response(self.asked, content, stamp.fresh(), sender="b", metadata={"stream": said} if said else {})

    def hear(self, content, **said):
        self.inflow.heard(Incoming("s", envelope.encode(self.response(content, said))))

    def parts(self, *contents, **said):
        for content in contents:
            self.hear(content, seq=self.inflow.parts.last, cost=1, **said)

    @property
    def cancels(self):
        return [notice["in_reply_to"] for notice in self.notices if notice["metadata"] == {"notice": "cancel"}]


@pytest.fixture
def run():
    def runner(body):
        async def main():
            async with asyncio.timeout(20):
                rig = await Rig().start()
                try:
                    await body(rig)
                finally:
                    await rig.inflows.close()
                    await rig.bus.drain(1.0)

        asyncio.run(main())

    return runner


def test_parts_are_read_in_order_to_the_end(run):
    async def body(rig):
        rig.opened()
        rig.parts("a", "b")
        rig.hear(None, end=True, seq=2)
        parts = rig.inflow.parts
        assert [parts.read(), parts.read()] == ["a", "b"]
        with pytest.raises(StopAsyncIteration):
            parts.read()
        assert (rig.inflows.open, rig.notices) == ({}, [])

    run(body)


def test_credit_goes_to_the_control_subject(run):
    async def body(rig):
        rig.opened()
        rig.hear("large", seq=0, cost=BATCH + 3)
        rig.inflow.parts.read()
        await eventually(lambda: rig.said == [{"credit": BATCH + 3, "close": False}])

    run(body)


def test_who_answers_without_streams_has_answered_in_one_part(run):
    async def body(rig):
        rig.inflow.opened(rig.response(5, None))
        assert rig.inflow.parts.read() == 5
        assert rig.inflow.parts.is_over

    run(body)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"seq": 0, "cost": 1, "control": "_INBOX.other"}, "broke off after 2 parts: it died, and has begun again"),
        ({"seq": 3, "cost": 1}, "broke off after 2 parts: a part was lost"),
        ({"seq": "2"}, "a part was lost"),
        ({}, "a part was lost"),
        ({"end": True, "seq": 3}, "a part was lost"),
        ({"end": True, "seq": 0}, "a part was lost"),
    ],
)
def test_what_does_not_follow_ends_the_stream_after_what_has_come_and_stops_the_handler(run, said, text):
    async def body(rig):
        rig.opened()
        rig.parts("a", "b")
        rig.hear("c", **said)
        parts = rig.inflow.parts
        assert [parts.read(), parts.read()] == ["a", "b"]
        with pytest.raises(AgentDown, match=text) as caught:
            parts.read()
        assert caught.value.may_have_run
        await eventually(lambda: rig.cancels == [rig.asked.message_id])

    run(body)


def test_who_sends_without_credit_is_left(run):
    async def body(rig):
        rig.opened()
        rig.hear("large", seq=0, cost=STREAM_WINDOW)
        rig.hear("more", seq=1, cost=1)
        assert rig.inflow.parts.read() == "large"
        with pytest.raises(AgentDown, match="it sends more than it has credit for"):
            rig.inflow.parts.read()
        await eventually(lambda: rig.cancels)

    run(body)


def test_a_handler_that_began_again_before_its_first_part_is_read_on(run):
    async def body(rig):
        rig.opened()
        rig.parts("a", control="_INBOX.second")
        rig.inflow.parts.read()
        rig.hear("large", seq=1, cost=BATCH)
        rig.inflow.parts.read()
        await eventually(lambda: rig.said)

    run(body)


@pytest.mark.parametrize("payload", [b"nonsense", b"{}"])
def test_what_is_no_envelope_ends_the_stream(run, payload):
    async def body(rig):
        rig.opened()
        rig.inflow.heard(Incoming("s", payload))
        with pytest.raises(BadMessage):
            rig.inflow.parts.read()

    run(body)


def test_an_error_is_raised_as_what_it_was(run):
    async def body(rig):
        rig.opened()
        rig.parts("a")
        failure = envelope.error(rig.asked, Failure.of(ValueError("no")), stamp.fresh(), sender="b")
        rig.inflow.heard(Incoming("s", envelope.encode(failure)))
        assert rig.inflow.parts.read() == "a"
        with pytest.raises(RemoteError, match="ValueError: no"):
            rig.inflow.parts.read()

    run(body)


def test_nothing_is_said_to_a_control_subject_that_is_no_inbox(run):
    async def body(rig):
        rig.opened(control="agents.direct.b")
        rig.hear("large", seq=0, cost=BATCH)
        rig.inflow.parts.read()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert rig.notices == []

    run(body)


def test_a_reader_that_leaves_says_so(run):
    async def body(rig):
        rig.opened()
        rig.inflow.parts.close()
        await eventually(lambda: rig.cancels == [rig.asked.message_id])
        assert rig.inflows.open == {}

    run(body)


def test_a_reader_that_reads_nothing_says_that_it_is_there(run, monkeypatch):
    monkeypatch.setattr(streams, "ALIVE", 0.01)

    async def body(rig):
        rig.opened()
        await eventually(lambda: len(rig.said) > 2)
        assert rig.said[0] == {"credit": 0, "close": False}
        rig.inflow.end()
        assert rig.inflow._alive.cancelled()

    run(body)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"seq": 0, "control": CONTROL}, True),
        ({"seq": 1}, False),
        ({"seq": 0, "control": "agents.direct.b"}, False),
        (None, False),
    ],
)
def test_a_handler_that_begins_a_stream_that_was_left_is_told(run, said, told):
    async def body(rig):
        rig.inflows.stray(Incoming("left", envelope.encode(rig.response("a", said))))
        for payload in (b"", b"waits", b"{"):
            rig.inflows.stray(Incoming("left", payload))
        await asyncio.gather(*rig.inflows._tasks)
        assert rig.said == ([{"credit": 0, "close": True}] if told else [])
        assert rig.notices == []

    run(body)


def test_closing_the_connection_ends_the_streams(run):
    async def body(rig):
        rig.opened()
        await rig.inflows.close()
        with pytest.raises(Unreachable):
            rig.inflow.parts.read()

    run(body)
