"""Letters in, handlers run, what they did goes out."""

import asyncio
import threading
import time

import msgspec
import pytest

from actorsys import Agent, Event, Request, errors, on
from actorsys.bus.counters import Often
from actorsys.clock import now_ns
from actorsys.mailbox.codec import decode, encode
from actorsys.mailbox.letter import ASK, FAILURE, LENIENT, REMOTE, REPLY, TELL, Command, Failed, Letter
from actorsys.messages import Failure
from actorsys.runtime.loop import Crash
from actorsys.testing.waiting import eventually


class Add(Request[int]):
    n: int


class Who(Request[list[str | None]]):
    pass


class Note(Event):
    text: str


class Lose(Event):
    pass


class Wait(Request[str]):
    pass


class Thread(Request[bool]):
    pass


class Worker(Agent):
    def __init__(self):
        self.notes = []
        self.go = asyncio.Event()

    @on
    async def add(self, msg: Add) -> int:
        self.state["total"] = self.state.get("total", 0) + msg.n
        await self.agent("other").tell(Note("added"))
        if msg.n < 0:
            raise ValueError("negative")
        return self.state["total"]

    @on
    async def who(self, msg: Who) -> list[str | None]:
        return [self.name, self.sender and self.sender.name, self.message.id]

    @on
    def note(self, msg: Note) -> None:
        self.notes.append(msg.text)

    @on
    async def lose(self, msg: Lose) -> None:
        self.state["lost"] = True
        await self.agent("other").tell(Note("lost"))
        raise KeyError("lost")

    @on
    async def wait(self, msg: Wait) -> str:
        self.state["waited"] = True
        await self.go.wait()
        return "went"

    @on(thread=True)
    def thread(self, msg: Thread) -> bool:
        return threading.current_thread() is not threading.main_thread()


class Open(Worker):
    async def receive(self, message):
        return {"type": message.type, "payload": message.payload, "priority": message.priority}


def failure(letter):
    return msgspec.msgpack.decode(letter.payload, type=Failure)


async def answer(rig, number):
    """The answer to an ask."""
    return await eventually(lambda: next((letter for letter in rig.letters if letter.kind != TELL and letter.id == number), None))


def test_an_ask_is_answered(check):
    async def body(rig):
        reply = await answer(rig, rig.ask(Add(2)))
        assert (reply.kind, decode(reply.payload)) == (REPLY, 2)

    check(Worker, body)


def test_a_handler_knows_its_name_its_sender_and_its_message(check):
    async def body(rig):
        letter = rig.letter(Who())
        letter.sender = "friend"
        rig.runtime.deliver([letter])
        assert decode((await answer(rig, letter.id)).payload) == ["a", "friend", f"run.{letter.id}"]
        assert decode((await answer(rig, rig.ask(Who()))).payload)[1] is None
        assert (rig.agent.sender, rig.agent.message) == (None, None)

    check(Worker, body)


def test_urgent_messages_are_handled_first(check):
    async def body(rig):
        numbers = [rig.tell(Note(str(priority)), priority=priority) for priority in (3, 5, 1)]
        await rig.acked(*numbers)
        assert rig.agent.notes == ["1", "3", "5"]

    check(Worker, body)


def test_an_expired_message_is_acknowledged_unhandled(check):
    async def body(rig):
        number = rig.tell(Note("late"), deadline=now_ns() - 1)
        await rig.acked(number, rig.tell(Note("in time"), deadline=now_ns() + 10**12))
        assert rig.agent.notes == ["in time"]

    check(Worker, body)


def test_a_blocking_handler_runs_in_a_thread(check):
    async def body(rig):
        assert decode((await answer(rig, rig.ask(Thread()))).payload) is True

    check(Worker, body)


def test_an_exception_answers_the_asker_and_takes_back_state_and_sends(check):
    async def body(rig):
        letter = await answer(rig, rig.ask(Add(-1)))
        assert letter.kind == FAILURE
        assert (failure(letter).type, failure(letter).message) == ("ValueError", "negative")
        assert "Traceback" in failure(letter).traceback
        assert [one for one in rig.letters if one.kind == TELL] == []
        assert dict(rig.agent.state) == {}
        assert decode((await answer(rig, rig.ask(Add(1)))).payload) == 1
        assert not rig.runtime.ending.done()

    check(Worker, body)


@pytest.mark.parametrize(
    ("kind", "flags", "on_error", "ends"),
    [
        (TELL, 0, "auto", Crash),
        (TELL, REMOTE, "auto", None),
        (ASK, 0, "auto", None),
        (TELL, 0, "resume", None),
        (TELL, 0, "restart", Crash),
        (ASK, 0, "restart", Crash),
        (TELL, REMOTE, "restart", Crash),
        (TELL, 0, "stop", Command),
        (ASK, 0, "stop", Command),
    ],
)
def test_on_error_says_what_an_exception_does_to_the_agent(check, kind, flags, on_error, ends):
    async def body(rig):
        letter = rig.letter(Lose(), kind=kind, flags=flags)
        rig.runtime.deliver([letter])
        if ends is Command:  # it asks to be stopped, so that no restart type revives it
            asked = Command(0, "stop", {"names": ["a/0"], "cause": "by itself: KeyError: 'lost'"})
            await eventually(lambda: asked in rig.notes)
        elif ends is None:
            after = rig.tell(Note("alive"))
            await rig.acked(after)
            assert not rig.runtime.ending.done()
        else:
            assert isinstance(await rig.runtime.ending, ends)
            await rig.runtime.sending.drain()
        if kind == ASK:
            assert failure(await answer(rig, letter.id)).type == "KeyError"
        else:
            note = (await eventually(lambda: [note for note in rig.notes if isinstance(note, Failed)]))[0]
            assert (note.id, note.failure.type) == (letter.id, "KeyError")
        assert [one for one in rig.letters if one.to == "other"] == []
        assert "lost" not in rig.agent.state

    check(Worker, body, on_error=on_error)


class Fail(Event):
    kind: str


class Thinker(Agent):
    @on
    async def fail(self, msg: Fail) -> None:
        raise getattr(errors, msg.kind)("no")


@pytest.mark.parametrize(
    ("kind", "ends"),
    [
        ("ModelUnavailable", None),
        ("BudgetExceeded", None),
        ("BadMessage", None),
        ("ModelAuthError", Command),
        ("BadModelCall", Crash),
        ("BadCompletion", Crash),
    ],
)
def test_what_becomes_of_the_agent_depends_on_what_failed_outside(check, kind, ends):
    async def body(rig):
        rig.tell(Fail(kind))
        if ends is Crash:
            assert isinstance(await rig.runtime.ending, Crash)
            await rig.runtime.sending.drain()
        note = (await eventually(lambda: [note for note in rig.notes if isinstance(note, Failed)]))[0]
        assert note.failure.type == kind
        stops = [note for note in rig.notes if isinstance(note, Command)]
        assert rig.runtime.ending.done() == (ends is Crash)
        assert bool(stops) == (ends is Command)
        if stops:
            assert stops[0].arguments["cause"] == "by itself: ModelAuthError: no"

    check(Thinker, body)


UNFIT = [
    ({"type": "Nothing"}, "type", "takes no Nothing"),
    ({"type": "Ad", "n": 1}, "type", "did you mean Add?"),
    ({"type": "Add", "n": "x"}, "n", "Add: "),
    ({"type": 5}, "type", "takes no"),
    ("text", "type", "takes no"),
    (None, "type", "takes no"),
]


@pytest.mark.parametrize(("payload", "field", "text"), UNFIT)
@pytest.mark.parametrize("kind", [TELL, ASK])
def test_a_message_that_does_not_fit_is_refused_and_disturbs_nothing(check, kind, payload, field, text):
    async def body(rig):
        number = rig.ask(payload, kind=kind)
        if kind == ASK:
            said = failure(await answer(rig, number))
        else:
            (note,) = await eventually(lambda: rig.notes)
            assert note.id == number
            said = note.failure
        assert said.kind == "BadMessage"
        assert text in said.message
        assert said.details == {"field": field}
        assert not rig.runtime.ending.done()

    check(Worker, body)


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\x81", b"\x91" * 5000, b"\x81\xa1n\xa1x", b"\xff"])
@pytest.mark.parametrize("type", ["", "Add", "no:Such"])
def test_hostile_bytes_are_refused(check, payload, type):
    async def body(rig):
        rig.runtime.deliver([Letter(ASK, 50, "a", "b", type, payload)])
        assert failure(await answer(rig, 50)).kind == "BadMessage"

    check(Worker, body)


def test_plain_values_reach_a_handler_by_the_name_of_its_type(check):
    async def body(rig):
        assert decode((await answer(rig, rig.ask({"type": "Add", "n": 2}))).payload) == 2
        assert decode((await answer(rig, rig.ask({"type": "Add", "n": "3"}, flags=LENIENT))).payload) == 5
        rig.runtime.deliver([Letter(ASK, 50, "a", "b", "Add", encode({"n": "4"}), flags=LENIENT)])
        assert decode((await answer(rig, 50)).payload) == 9

    check(Worker, body)


def test_receive_gets_the_rest(check):
    async def body(rig):
        reply = await answer(rig, rig.ask({"type": "Nothing", "x": [1]}, priority=2))
        assert decode(reply.payload) == {"type": "Nothing", "payload": {"type": "Nothing", "x": [1]}, "priority": 2}
        assert decode((await answer(rig, rig.ask({"type": "Add", "n": 2}))).payload) == 2

    check(Open, body)


def test_a_cancelled_ask_stops_its_handler_rolls_back_and_the_next_one_runs(check):
    async def body(rig):
        number = rig.ask(Wait())
        await eventually(lambda: rig.runtime.sending.open)
        rig.runtime.cancel(number)
        rig.runtime.cancel(999)
        await rig.acked(number, rig.tell(Note("next")))
        assert rig.agent.notes == ["next"]
        assert dict(rig.agent.state) == {}
        assert rig.letters == []

    check(Worker, body)


def test_a_cancelled_ask_that_waits_for_its_turn_is_not_handled(check):
    async def body(rig):
        first, second = rig.ask(Wait()), rig.ask(Add(1))
        await eventually(lambda: rig.runtime.sending.open)
        rig.runtime.cancel(second)
        rig.agent.go.set()
        await rig.acked(first, second)
        assert [letter.id for letter in rig.letters] == [first]

    check(Worker, body)


def test_an_ask_of_a_chain_that_holds_every_handler_is_a_cycle(check):
    async def body(rig):
        waiting = rig.ask(Wait())
        await eventually(lambda: rig.runtime.sending.open)
        said = failure(await answer(rig, rig.ask(Add(1), chain=("a", "b"))))
        assert said.kind == "AskCycle"
        assert said.details["chain"] == ["a", "b", "a"]
        later = rig.ask(Add(1), chain=("c", "b"))
        rig.agent.go.set()
        await rig.acked(waiting, later)

    check(Worker, body)


def test_two_handlers_run_at_once_when_allowed(check):
    async def body(rig):
        waiting = rig.ask(Wait())
        assert decode((await answer(rig, rig.ask(Add(1)))).payload) == 1
        assert decode((await answer(rig, rig.ask(Add(1), chain=("a", "b")))).payload) == 2
        rig.agent.go.set()
        await rig.acked(waiting)

    check(Worker, body, concurrency=2)


def test_what_runs_at_the_end_and_does_not_finish_stays_in_custody(check):
    async def body(rig):
        rig.ask(Wait())
        rig.tell(Note("never"))
        await eventually(lambda: rig.runtime.sending.open)
        await rig.runtime.quiesce(0.01)
        await rig.runtime.sending.drain()
        assert rig.agent.notes == []
        assert [number for frame in rig.frames for number in frame.acks] == []
        assert rig.runtime.sending.open == {}

    check(Worker, body)


def test_handlers_that_never_wait_let_the_loop_turn(check):
    async def body(rig):
        turns = []
        numbers = [rig.tell(Note(str(number))) for number in range(3000)]
        loop = asyncio.get_running_loop()

        def turn():
            turns.append(time.monotonic())
            if len(rig.agent.notes) < 3000:
                loop.call_soon(turn)

        rig.agent.notes = Slow()
        loop.call_soon(turn)
        await rig.acked(*numbers)
        assert len(turns) >= 3

    class Slow(list):
        def append(self, item):
            super().append(item)
            until = time.perf_counter() + 0.00001
            while time.perf_counter() < until:
                pass

    check(Worker, body)


def test_a_flood_of_failing_messages_from_off_the_node_is_a_few_lines_with_the_first_traceback(check, caplog):
    async def body(rig):
        rig.runtime.often = Often(60.0)
        bad = Letter(TELL, 0, "a", "far", "", encode({"type": "Nope"}), flags=REMOTE)
        for number in range(1, 201):
            rig.runtime.deliver([rig.letter(Lose(), kind=TELL, flags=REMOTE)])
            bad.id = 1000 + number
            rig.runtime.deliver([msgspec.structs.replace(bad)])
        await eventually(lambda: len([note for note in rig.notes if type(note) is Failed]) == 400)

    check(Worker, body)
    said = [record for record in caplog.records if record.name == "a"]
    assert [("takes no Nope" in record.getMessage(), bool(record.exc_info)) for record in said] == [(False, True), (True, False)]


def test_of_the_failing_handlers_of_this_node_each_has_its_line(check, caplog):
    async def body(rig):
        rig.runtime.often = Often(60.0)
        for _ in range(20):
            rig.ask(Lose())
        await eventually(lambda: len([letter for letter in rig.letters if letter.kind == FAILURE]) == 20)

    check(Worker, body)
    assert len([record for record in caplog.records if record.name == "a" and record.exc_info]) == 20


class Awaiting(Agent):
    @on
    async def wait(self, msg: Wait) -> str:
        gone = asyncio.get_running_loop().create_future()
        gone.cancel()
        return await gone

    @on
    async def add(self, msg: Add) -> int:
        return msg.n


def test_a_handler_that_waits_for_something_cancelled_fails_and_the_agent_goes_on(check):
    async def body(rig):
        rig.ask(Wait())
        await rig.acked(rig.ask(Add(2)))
        failed, answered = rig.letters
        assert (failed.kind, decode(failed.payload, Failure).type) == (FAILURE, "CancelledError")
        assert (answered.kind, decode(answered.payload)) == (REPLY, 2)

    check(Awaiting, body)
