"""One frame for what a handler did; with a durable backend committed before it leaves."""

import asyncio

import msgspec
import pytest

from actorsys import Agent, Event, Request, StateError, on
from actorsys.mailbox.codec import decode_frame, encode
from actorsys.mailbox.framing import PREFIX
from actorsys.mailbox.letter import ASK, REPLY, TELL, Frame, Letter
from actorsys.memory.base import Restored, StoredFrame
from actorsys.runtime.sending import FLUSH_BYTES
from actorsys.testing.waiting import eventually


class Add(Request[int]):
    n: int


class Report(Event):
    to: str
    wait: bool = False


class Heap(Event):
    to: str
    size: int


class Word(Event):
    text: str


class Peek(Request[int | None]):
    key: str


class Tell(Event):
    to: str


class Save(Request[None]):
    pass


class Consult(Event):
    """Ask `count` others at the same time, `rounds` times."""

    count: int
    rounds: int = 1


class Counter(Agent):
    @on
    async def consult(self, msg: Consult) -> None:
        for _ in range(msg.rounds):
            await self.agent("diary").tell(Word("asking"))
            asks = [self.agent("b").ask(Add(number)) for number in range(msg.count)]
            await (asks[0] if msg.count == 1 else asyncio.gather(*asks))

    @on
    async def peek(self, msg: Peek) -> int | None:
        return self.state.get(msg.key)

    @on
    async def tell(self, msg: Tell) -> None:
        await self.agent(msg.to).tell(Word("from within"))

    @on
    async def save(self, msg: Save) -> None:
        self.state["saved"] = True
        await self.state.commit()

    @on
    async def add(self, msg: Add) -> int:
        self.state["total"] = self.state.get("total", 0) + msg.n
        return self.state["total"]

    @on
    async def heap(self, msg: Heap) -> None:
        await self.agent(msg.to).tell(Word("x" * msg.size))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        self.state["told"] = True

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


@pytest.mark.parametrize(
    ("count", "leaves"), [(1, [[TELL, ASK]]), (3, [[TELL], [ASK], [ASK, ASK]])], ids=["one ask", "three in tasks of their own"]
)
def test_the_first_ask_leaves_at_once_with_what_was_told_before_and_others_share_a_frame(check, count, leaves):
    async def body(rig):
        number = rig.tell(Consult(count, rounds=2))
        for _ in range(2):
            await eventually(lambda: sum(letter.kind == ASK for letter in rig.letters) == count)
            assert [[letter.kind for letter in frame.letters] for frame in rig.frames] == leaves
            asks = [letter for letter in rig.letters if letter.kind == ASK]
            rig.frames.clear()
            rig.runtime.deliver([Letter(REPLY, letter.id, "", "", "", encode(1)) for letter in asks])
        await rig.acked(number)

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


def test_nothing_counts_as_handled_before_all_that_its_handler_sent_has_left(check, durable):
    async def body(rig):
        loop, supervisor = asyncio.get_running_loop(), rig._supervisor
        loop.remove_reader(supervisor._fd)  # it is busy, and the pipe is soon full
        number = rig.tell(Heap(to="b", size=4 * 2**20))
        await eventually(lambda: rig.pipe.outgoing_bytes and not rig.runtime.sending.open)
        for _ in range(20):
            await asyncio.sleep(0)
        assert durable.commits == []  # a SIGKILL now: the message comes again, and so does what its handler tells
        loop.add_reader(supervisor._fd, supervisor._read)
        first, last = await rig.acked(number)
        assert ([letter.to for letter in first.letters], last.acks) == (["b"], [number])
        assert [ids for _, ids, _ in durable.commits] == [(f"run.{number}",)]

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
        rig.runtime.sending.send_again()
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
    durable.error = StateError("the disk is broken", reason="io")

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


def test_a_handler_that_changed_nothing_needs_no_commit(check, durable):
    async def body(rig):
        await rig.acked(rig.ask(Peek("total")), rig.tell(Tell("b")))
        assert durable.commits == []
        assert [letter.kind for letter in rig.letters] == [REPLY, TELL]

    check(Counter, body, memory=durable)


# --- a backend that cannot write for a while


FULL = StateError("the disk is full", reason="full")


def patient(check, durable, body, **more):
    async def held(rig):
        rig.runtime.sending.is_patient = True
        durable.error = FULL
        first = rig.ask(Add(1))
        await eventually(lambda: rig.runtime.sending.is_held)
        assert rig.frames == []
        await body(rig, first)

    check(Counter, held, memory=durable, restored=Restored({"other": encode(5)}), **more)


def test_while_it_cannot_write_messages_that_changed_nothing_are_answered(check, durable):
    async def body(rig, first):
        number = rig.ask(Peek("other"))
        await rig.acked(number)
        assert [(letter.id, letter.payload) for letter in rig.letters] == [(number, encode(5))]
        rig.ask(Word("?"))  # a message that no handler takes waits for nothing either
        await eventually(lambda: len(rig.letters) == 2)
        assert not any(first in frame.acks for frame in rig.frames)

    patient(check, durable, body)


@pytest.mark.parametrize("message", [Peek("total"), Tell("b"), Add(1)], ids=lambda message: type(message).__name__)
def test_what_saw_or_sent_something_that_is_not_stored_waits_in_its_order(check, durable, message):
    async def body(rig, first):
        second, other = rig.ask(message), rig.ask(Peek("other"))
        await rig.acked(other)
        assert [frame.acks for frame in rig.frames] == [[other]]
        durable.error = None
        frames = await rig.acked(first, second)
        assert [number for frame in frames for number in frame.acks] == [other, first, second]
        assert rig.letters[1].payload == encode(1)

    patient(check, durable, body)


def test_when_it_can_write_again_everything_is_stored_once_in_one_transaction(check, durable):
    async def body(rig, first):
        more = [rig.ask(Add(1)) for _ in range(5)]
        await eventually(lambda: rig.runtime.state.get("total") == 6)
        durable.error = None
        await rig.acked(first, *more)
        assert [commit[0] for commit in durable.commits] == [{"total": encode(6)}]
        assert durable.commits[0][1] == tuple(f"run.{number}" for number in (first, *more))
        assert [letter.payload for letter in rig.letters] == [encode(total) for total in range(1, 7)]
        assert not rig.runtime.sending.is_held

    patient(check, durable, body)


def test_it_is_said_once_that_it_cannot_write_and_once_that_it_can(check, durable, caplog):
    async def body(rig, first):
        await eventually(lambda: durable.refused >= 3)
        durable.error = None
        await rig.acked(first)
        said = [(record.name, record.levelname, record.getMessage()) for record in caplog.records if record.name == "a"]
        assert [level for _, level, _ in said] == ["ERROR", "WARNING"]
        assert said[0][2].startswith("the disk is full; messages that change the state are held back")

    patient(check, durable, body)


def test_a_commit_in_between_waits_until_it_is_stored(check, durable):
    async def body(rig, first):
        number = rig.ask(Save())
        await eventually(lambda: number in rig.runtime.sending.open)
        durable.error = None
        await rig.acked(first, number)
        assert {**durable.commits[0][0], **durable.commits[-1][0]}.keys() == {"total", "saved"}

    patient(check, durable, body)


def test_at_its_end_it_tries_once_more_and_what_is_not_stored_stays_unacknowledged(check, durable):
    async def body(rig, first):
        number = rig.ask(Save())
        await eventually(lambda: number in rig.runtime.sending.open)
        await rig.runtime.sending.drain()
        assert rig.runtime.sending.failure.result() is FULL
        await eventually(lambda: number not in rig.runtime.sending.open)
        await rig.runtime.sending.drain()
        assert rig.frames == []
        with pytest.raises(StateError, match="the disk is full"):
            await rig.runtime.sending.commit({"more": encode(1)})

    patient(check, durable, body)


def test_at_its_end_what_can_be_stored_is_stored(check, durable):
    async def body(rig, first):
        durable.error = None
        await rig.runtime.sending.drain()
        assert (await rig.acked(first))[0].acks == [first]

    patient(check, durable, body)


def test_before_it_is_ready_a_commit_that_fails_raises(check, durable):
    durable.error = FULL

    async def body(rig):
        with pytest.raises(StateError, match="the disk is full"):
            await rig.runtime.sending.commit({"a": encode(1)})

    check(Counter, body, memory=durable)


def test_an_error_of_any_kind_in_a_backend_ends_the_agent(check, durable):
    durable.error = ConnectionError("whatever")

    async def body(rig):
        rig.ask(Add(1))
        error = await rig.runtime.sending.failure
        assert isinstance(error, StateError)
        assert error.message == "the backend failed to write the state: ConnectionError: whatever"

    check(Counter, body, memory=durable)


def test_frames_that_pile_up_while_a_commit_runs_share_the_next_one(check, durable):
    gate = asyncio.Event()
    commit = durable.commit

    async def slow(changes, message_ids, frame):
        await gate.wait()
        await commit(changes, message_ids, frame)

    durable.commit = slow

    async def body(rig):
        numbers = []
        for _ in range(5):
            numbers.append(rig.ask(Add(1)))
            await eventually(lambda: rig.runtime.state.get("total") == len(numbers))
            await asyncio.sleep(0)
        gate.set()
        await rig.acked(*numbers)
        assert [ids for _, ids, _ in durable.commits] == [("run.1",), ("run.2", "run.3", "run.4", "run.5")]
        (frame,) = [decode_frame(stored[PREFIX.size :]) for _, ids, stored in durable.commits if len(ids) == 4]
        assert [letter.payload for letter in frame.letters] == [encode(total) for total in range(2, 6)]

    check(Counter, body, memory=durable)


class Bulk(Event):
    count: int


class Bulky(Agent):
    @on
    async def bulk(self, msg: Bulk) -> None:
        for _ in range(msg.count):
            self._runtime.post(Letter(TELL, 0, "b", "", "", bytes(2**20)))

    @on
    async def word(self, msg: Word) -> None:
        self.state["word"] = msg.text
        if msg.text == "now":
            await self.state.commit()


def test_a_handler_that_sends_very_much_never_makes_a_frame_too_large_to_be_read(check):
    async def body(rig):
        number = rig.tell(Bulk(40))
        frames = await rig.acked(number)
        sizes = [sum(len(letter.payload) for letter in frame.letters) for frame in frames]
        assert sum(sizes) == 40 * 2**20
        assert max(sizes) <= FLUSH_BYTES + 2**20
        told = [letter for frame in frames for letter in frame.letters]
        assert [letter.ordinal for letter in told] == list(range(1, 41))

    check(Bulky, body)


def test_a_commit_in_a_handler_does_not_overtake_the_changes_of_the_one_before(check, durable):
    async def body(rig):
        rig.tell(Word("before"))
        number = rig.tell(Word("now"))
        await rig.acked(number)
        assert [changes["word"] for changes, _, _ in durable.commits if "word" in changes][-1] == encode("now")
        assert await durable.retrieve("word") == "now"

    check(Bulky, body, memory=durable)


def test_a_stored_message_that_has_expired_still_has_its_frame_sent(check, durable):
    frame = Frame([1], [Letter(REPLY, 1, "", "", "", encode(7))], [], 99)
    restored = Restored({}, (StoredFrame(("run.1",), framed(frame)),))

    async def body(rig):
        rig.runtime.sending.send_again()
        rig.ask(Add(1), deadline=1)
        assert (await rig.acked(1))[0] == frame

    check(Counter, body, memory=durable, restored=restored)
