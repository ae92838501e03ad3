import asyncio
import gc
import weakref
from contextvars import ContextVar

import pytest

from actorsys import ActorError, AgentDown, AskTimeout, BadMessage, Event, MailboxFull, RemoteError, Request, UnknownAgent
from actorsys.clock import now_ns
from actorsys.mailbox import outbox as module
from actorsys.mailbox.codec import decode, encode
from actorsys.mailbox.kinds import packed
from actorsys.mailbox.letter import ASK, FAIL_WHEN_DOWN, FAILURE, REPLY, TELL, Forget, Full, Letter, Room
from actorsys.mailbox.outbox import Outbox
from actorsys.messages import Failure
from actorsys.testing.waiting import eventually


class Add(Request[int]):
    n: int


class Reset(Event):
    pass


class Recorder(Outbox):
    """Sends nothing, and keeps what it was given to send."""

    def __init__(self, name="me", first_number=1):
        super().__init__(name, first_number)
        self.letters, self.notes = [], []

    def post(self, letter):
        self.letters.append(letter)

    def note(self, note):
        self.notes.append(note)

    def send(self, letter):
        self.post(letter)

    async def command(self, do, arguments):
        return do, arguments

    def answer(self, value, number=-1):
        self.replied(Letter(REPLY, self.letters[number].id, "me", "", "", encode(value)))


@pytest.fixture
def run():
    def runner(body):
        async def main():
            async with asyncio.timeout(20):
                await body(Recorder())

        asyncio.run(main())

    return runner


async def asked(outbox, message=Add(2), **more):
    """An ask on its way."""
    ask = asyncio.ensure_future(outbox.ask("a", message, **{"timeout": 20, **more}))
    await asyncio.sleep(0)
    return ask


def test_a_message_is_packed_with_the_id_of_its_type():
    kind, payload = packed(Add(2))
    assert kind == f"{__name__}:Add"
    assert decode(payload) == {"n": 2}
    assert packed({"type": "Add"})[0] == ""
    assert packed("text")[0] == ""


def test_a_tell_is_posted(run):
    async def body(outbox):
        await outbox.tell("a", Reset(), priority=1)
        (letter,) = outbox.letters
        assert (letter.kind, letter.to, letter.type, letter.priority) == (TELL, "a", f"{__name__}:Reset", 1)

    run(body)


def test_an_ask_brings_the_reply_in_the_type_that_the_request_names(run):
    async def body(outbox):
        ask = await asked(outbox, when_down="fail", priority=2)
        (letter,) = outbox.letters
        assert (letter.kind, letter.id, letter.flags, letter.priority, letter.chain) == (ASK, 1, FAIL_WHEN_DOWN, 2, ())
        assert letter.deadline > 0
        outbox.answer(5)
        assert await ask == 5
        assert outbox.notes == []

    run(body)


def test_numbers_go_on_where_the_last_incarnation_could_not_have_been():
    async def main():
        outbox = Recorder(first_number=2 << 32 | 1)
        ask = await asked(outbox)
        assert outbox.letters[0].id == 2 << 32 | 1
        outbox.answer(1)
        await ask

    asyncio.run(main())


def test_a_reply_of_another_type_is_a_bad_message(run):
    async def body(outbox):
        ask = await asked(outbox)
        outbox.answer("five")
        with pytest.raises(BadMessage, match="the reply is not of the type that the request names"):
            await ask

    run(body)


@pytest.mark.parametrize(
    ("error", "text"),
    [(ValueError("no"), "ValueError: no"), (AgentDown("it ended", reason="killed", may_have_run=True), "it ended")],
)
def test_a_failure_is_raised_as_what_it_was(run, error, text):
    async def body(outbox):
        ask = await asked(outbox)
        outbox.replied(Letter(FAILURE, 1, "me", "", "", encode(Failure.of(error))))
        with pytest.raises((RemoteError, AgentDown), match=text):
            await ask

    run(body)


def test_without_an_answer_it_times_out(run):
    async def body(outbox):
        with pytest.raises(AskTimeout, match="'a' did not answer within 10ms"):
            await outbox.ask("a", Add(2), timeout=0.01)
        outbox.answer(5)  # too late: dropped

    run(body)


def test_a_cancelled_ask_is_forgotten_by_custody_too(run):
    async def body(outbox):
        ask = await asked(outbox)
        ask.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ask
        assert outbox.notes == [Forget(1)]
        outbox.answer(5)

    run(body)


def test_an_ask_cancelled_with_its_answer_there_is_not_taken_back(run):
    async def body(outbox):
        ask = await asked(outbox)
        outbox.answer(5)
        ask.cancel()
        await asyncio.wait({ask})
        assert outbox.notes == []

    run(body)


@pytest.mark.parametrize("priority", [0, 6, -1, "urgent", None, True, 2.0, 3.0])
def test_a_priority_beyond_1_to_5_is_a_bad_message_and_nothing_is_sent(run, priority):
    async def body(outbox):
        for send in (outbox.tell("a", Reset(), priority=priority), outbox.ask("a", Add(2), timeout=1, priority=priority)):
            with pytest.raises(BadMessage) as caught:
                await send
            assert caught.value.field == "priority"
        assert outbox.letters == []

    run(body)


def test_what_cannot_be_encoded_is_a_bad_message_and_nothing_is_sent(run):
    async def body(outbox):
        for send in (outbox.tell("a", object()), outbox.ask("a", {"x": object()}, timeout=1)):
            with pytest.raises(BadMessage):
                await send
        assert outbox.letters == []
        assert outbox._asks == {}

    run(body)


@pytest.mark.parametrize("kind", ["tell", "ask"])
def test_a_full_mailbox_makes_wait_until_there_is_room(run, kind):
    async def body(outbox):
        outbox.noted(Full("a"))
        outbox.noted(Full("a"))
        send = asyncio.ensure_future(outbox.tell("a", Reset()) if kind == "tell" else outbox.ask("a", Add(1), timeout=20))
        await outbox.tell("b", Reset())  # other traffic does not wait
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(outbox.letters) == 1
        outbox.noted(Room("a"))
        await eventually(lambda: len(outbox.letters) == 2)
        if kind == "ask":
            outbox.answer(1)
        await send

    run(body)


def test_a_full_mailbox_that_rejects_raises_at_once(run):
    async def body(outbox):
        outbox.noted(Full("a", reject=True))
        with pytest.raises(MailboxFull, match="its overflow policy is to reject"):
            await outbox.tell("a", Reset())
        with pytest.raises(MailboxFull):
            await outbox.ask("a", Add(1), timeout=1)
        outbox.noted(Room("a"))
        await outbox.tell("a", Reset())

    run(body)


def test_patience_has_an_end(run, monkeypatch):
    monkeypatch.setattr(module, "ROOM_TIMEOUT", 0.01)

    async def body(outbox):
        outbox.noted(Full("a"))
        with pytest.raises(MailboxFull, match="had no room for 10ms"):
            await outbox.wait_room("a", 0.01)
        with pytest.raises(MailboxFull):
            await outbox.ask("a", Add(1), timeout=0.01)

    run(body)


def test_a_tell_to_oneself_never_waits(run):
    async def body(outbox):
        outbox.noted(Full("me"))
        await outbox.tell("me", Reset())
        assert len(outbox.letters) == 1

    run(body)


def test_room_that_nobody_waits_for_is_no_error(run):
    async def body(outbox):
        outbox.noted(Room("a"))
        outbox.noted(Full("a"))
        outbox.noted(Room("a"))
        await outbox.wait_room("a")

    run(body)


def test_a_payload_above_the_limit_is_refused_before_it_is_posted(run):
    async def body(outbox):
        outbox.max_payload = 1000
        for send in (outbox.tell("a", "x" * 1000), outbox.ask("a", {"text": "x" * 1000}, timeout=1)):
            with pytest.raises(BadMessage, match=r"a payload of 10\d\dB|a payload of 1\.0KiB") as caught:
                await send
            assert caught.value.field == "payload"
        await outbox.tell("a", "x" * 990)
        assert len(outbox.letters) == 1

    run(body)


class Elsewhere:
    """Another node: answers all asks with 7."""

    def __init__(self):
        self.calls = []

    async def tell(self, letter, trace):
        self.calls.append(("tell", letter, trace))

    async def ask(self, letter, trace, expected, *, idempotent):
        self.calls.append(("ask", letter, trace, expected, idempotent))
        return 7


@pytest.fixture
def far_from(monkeypatch):
    """Give an outbox another node; the names that live here."""

    def give(outbox, here):
        async def command(do, arguments):
            assert do == "where"
            outbox.asked.append(arguments["name"])
            return {"here": arguments["name"] in here}

        outbox.far, outbox.asked, outbox.command = Elsewhere(), [], command
        return outbox.far

    return give


def test_a_name_that_does_not_live_here_is_reached_elsewhere(run, far_from):
    async def body(outbox):
        far = far_from(outbox, {"a"})
        assert await outbox.ask("b", Add(2), timeout=20, when_down="fail", idempotent=True) == 7
        await outbox.tell("b", Reset(), priority=1)
        (_, asked, trace, expected, idempotent), (_, told, _) = far.calls
        assert (asked.to, asked.type, asked.flags, asked.chain) == ("b", f"{__name__}:Add", FAIL_WHEN_DOWN, ())
        assert (trace, expected, idempotent) == ("", int, True)
        assert 19 < (asked.deadline - now_ns()) / 1e9 <= 20
        assert (told.to, told.type, told.priority, told.flags) == ("b", f"{__name__}:Reset", 1, 0)
        assert outbox.letters == []

    run(body)


def test_where_a_name_lives_is_asked_once(run, far_from):
    async def body(outbox):
        far_from(outbox, {"a"})
        await outbox.tell("a", Reset())
        await outbox.tell("a", Reset())
        await outbox.tell("me", Reset())
        assert outbox.asked == ["a"]
        assert [letter.to for letter in outbox.letters] == ["a", "a", "me"]

    run(body)


def test_a_name_that_has_left_is_looked_for_elsewhere(run, far_from):
    async def body(outbox):
        here = {"a"}
        far_from(outbox, here)
        ask = await asked(outbox)
        await eventually(lambda: outbox.letters)
        here.clear()
        gone = Failure.of(UnknownAgent("no agent is named 'a'"), with_traceback=False)
        outbox.replied(Letter(FAILURE, outbox.letters[0].id, "me", "", "", encode(gone)))
        assert await ask == 7
        assert outbox.asked == ["a", "a"]

    run(body)


def test_an_unknown_name_of_a_handler_here_is_passed_on(run, far_from):
    async def body(outbox):
        far_from(outbox, {"a"})
        ask = await asked(outbox)
        await eventually(lambda: outbox.letters)
        error = Failure.of(UnknownAgent("no agent is named 'c'"), with_traceback=False)
        outbox.replied(Letter(FAILURE, outbox.letters[0].id, "me", "", "", encode(error)))
        with pytest.raises(UnknownAgent, match="'c'"):
            await ask

    run(body)


def test_an_ask_from_another_thread_says_so_and_harms_no_other():
    async def main():
        outbox = Recorder()
        with pytest.raises(ActorError, match="run_coroutine_threadsafe"):
            await asyncio.to_thread(asyncio.run, outbox.ask("a", Add(1), timeout=5))
        assert outbox.letters == []
        with pytest.raises(AskTimeout):
            await outbox.ask("a", Add(1), timeout=0.01)
        loop = asyncio.get_running_loop()
        there = asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(outbox.ask("a", Add(2), timeout=5), loop).result())
        answered = asyncio.ensure_future(there)
        await eventually(lambda: len(outbox.letters) == 2)
        outbox.answer(7)
        assert await answered == 7

    asyncio.run(main())


def test_a_failure_that_cannot_be_read_belongs_to_who_asked(run):
    async def body(outbox):
        ask = await asked(outbox)
        outbox.replied(Letter(FAILURE, outbox.letters[-1].id, "me", "", "", b"\xc1"))
        with pytest.raises(BadMessage):
            await ask

    run(body)


def test_an_answered_ask_keeps_nothing_of_its_asker_alive(run):
    class Heavy:
        pass

    known = ContextVar("known")

    async def ask_with(outbox, heavy):
        known.set(heavy)
        return await outbox.ask("a", Add(1), timeout=3600)

    async def body(outbox):
        heavy = Heavy()
        gone = weakref.ref(heavy)
        ask = asyncio.ensure_future(ask_with(outbox, heavy))
        await eventually(lambda: outbox.letters)
        outbox.answer(1)
        await ask
        del heavy, ask
        await asyncio.sleep(0)  # the loop lets go of what ran last
        gc.collect()
        assert gone() is None

    run(body)
