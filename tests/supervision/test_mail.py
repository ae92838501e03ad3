"""The driver of the switchboard: what it says of what it moves."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actorsys import Ref, clock
from actorsys.errors import UnknownAgent
from actorsys.mailbox.letter import ASK, HOST, REPLY, TELL, Frame, Letter, Ready
from actorsys.mailbox.traffic import Open, Posted, Up
from actorsys.spec import AgentSpec, MailboxSpec
from actorsys.supervision.driver import Driver
from actorsys.supervision.mail import LARGE_BYTES, TURN_LETTERS, Mail
from actorsys.supervision.member import Member
from actorsys.units import SECOND_NS


async def commands(do: str, arguments: dict[str, object]) -> None:
    raise AssertionError(f"nothing here is commanded: {do}")


def test_dead_letters_of_one_type_to_one_agent_are_one_line_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [SECOND_NS]
    monkeypatch.setattr(clock, "now_ns", lambda: now[0])
    mail = Mail(commands, 2**20, tmp_path / "journal")

    def post(to: str) -> None:
        frame = Frame(letters=[Letter(TELL, 0, to, "", "shop:Add", b"\x80")])
        mail.handle(Posted(HOST, frame))

    for _ in range(50):
        post("nobody")
    post("somebody")
    now[0] += SECOND_NS
    post("nobody")
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(":")[1] for text in said] == [
        " Add from the supervisor's process to nobody",
        " Add from the supervisor's process to somebody",
        " Add from the supervisor's process to nobody",
    ]
    assert ["more like this" in text for text in said] == [False, False, True]
    assert said[2].endswith("(49 more like this)")
    assert len(mail.switchboard.dead_letters) == 52


class Wire:
    """Stands where the pipe of an agent is: the ids of the letters of each frame that left."""

    def __init__(self) -> None:
        self.frames: list[list[int]] = []

    def send(self, frame: Frame) -> None:
        self.frames.append([letter.id for letter in frame.letters])


def letter(kind: int = TELL) -> Letter:
    return Letter(kind, 0, "a", "", "", b"\x80")


async def turn() -> None:
    """Until the loop has turned."""
    turned = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_soon(turned.set_result, None)
    await turned


@pytest.fixture
def check(tmp_path: Path) -> Callable[[Callable[[Mail, Wire], Awaitable[None]]], None]:
    def run(body: Callable[[Mail, Wire], Awaitable[None]]) -> None:
        async def main() -> None:
            mail, wire = Mail(commands, 2**20, tmp_path / "journal"), Wire()
            mail.pipes["a"] = wire  # type: ignore[assignment]
            mail.handle(Open("a", MailboxSpec(), ("a",), "a"))
            mail.handle(Up("a"))
            await body(mail, wire)

        asyncio.run(main())

    return run


def test_the_first_letter_of_the_host_leaves_at_once_and_the_others_of_its_turn_together(check: Any) -> None:
    async def body(mail: Mail, wire: Wire) -> None:
        for _ in range(3):
            mail.outbox.post(letter())
        assert wire.frames == [[1]]
        assert mail.switchboard.boxes["a"].depth == 3  # in custody all the same
        await turn()
        assert wire.frames == [[1], [2, 3]]
        mail.outbox.post(letter())
        assert wire.frames[2:] == [[4]]

    check(body)


def test_when_frames_came_in_the_next_letter_leaves_at_once_again(check: Any) -> None:
    async def body(mail: Mail, wire: Wire) -> None:
        mail.outbox.post(letter(ASK))
        mail.posted("a", [Frame([1])], now=1)
        mail.outbox.post(letter(ASK))
        mail.outbox.post(letter())
        assert wire.frames == [[1], [2]]
        mail.posted("a", [Frame([2])], now=1)  # in this turn still: what waits goes with it, when the turn ends
        assert wire.frames == [[1], [2]]
        await turn()
        assert wire.frames == [[1], [2], [3]]

    check(body)


def test_who_tells_many_lets_the_loop_turn_in_between(check: Any) -> None:
    async def body(mail: Mail, wire: Wire) -> None:
        turns = 0

        def count() -> None:
            nonlocal turns
            turns += 1
            asyncio.get_running_loop().call_soon(count)

        asyncio.get_running_loop().call_soon(count)
        ref = Ref("a", mail.outbox)
        for _ in range(TURN_LETTERS - 1):
            await ref.tell({})
        assert (turns, len(wire.frames)) == (0, 1)
        await ref.tell({})
        assert turns > 0
        assert [len(frame) for frame in wire.frames] == [1, TURN_LETTERS - 1]

    check(body)


def test_a_letter_to_nobody_raises_and_holds_up_nothing(check: Any) -> None:
    async def body(mail: Mail, wire: Wire) -> None:
        with pytest.raises(UnknownAgent, match="no agent is named 'b'"):
            mail.outbox.post(Letter(TELL, 0, "b", "", "", b"\x80"))
        mail.outbox.post(letter())
        assert wire.frames == [[1]]

    check(body)


def test_large_answers_of_one_turn_do_not_become_one_frame(check: Any) -> None:
    async def body(mail: Mail, wire: Wire) -> None:
        mail.handle(Open("b", MailboxSpec(), ("b",), "b"))
        mail.handle(Up("b"))
        asks = [Letter(ASK, number, "b", "", "", b"") for number in range(1, 5)]
        mail.posted("a", [Frame([], asks)], now=1)
        for _ in range(2):
            mail.outbox.post(letter())  # the second keeps the rest until the loop has turned
        wire.frames.clear()
        answers = [Letter(REPLY, number, "", "", "", bytes(LARGE_BYTES + 1)) for number in range(1, 5)]
        mail.posted("b", [Frame([1, 2, 3, 4], answers)], now=1)
        await turn()
        assert sorted(len(frame) for frame in wire.frames) == [1, 1, 1, 2]  # the last has the letter that waited, too

    check(body)


def test_an_agent_is_up_only_after_what_came_with_that_news(tmp_path: Path) -> None:
    """What it had stored, and sends before it is ready, may be read together with that."""

    async def main() -> None:
        mail, order = Mail(commands, 2**20, tmp_path / "journal"), []
        driver = Driver.__new__(Driver)
        driver.mail = mail
        driver._pulse = SimpleNamespace(heard=lambda name, now: None)  # type: ignore[assignment]
        driver.tell_core = order.append  # type: ignore[assignment, method-assign]
        mail.handle(Open("a", MailboxSpec(), ("a",), "a"))
        member = Member("a", "a", AgentSpec("a", type="shop:Cart"))
        take = mail.switchboard.take
        mail.switchboard.take = lambda *args: order.append("letters") or take(*args)  # type: ignore[method-assign, func-returns-value]
        driver._frames(member, [Frame([], [letter()]), Frame(notes=[Ready()])])
        assert order[:2] == ["letters", "letters"]
        assert [type(each).__name__ for each in order[2:]] == ["Ready"]
        assert member.is_ready
        assert mail.switchboard.boxes["a"].is_up

    asyncio.run(main())
