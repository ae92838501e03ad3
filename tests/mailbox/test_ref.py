import asyncio

import pytest

from actorsys import ActorError, Event, Ref
from actorsys.mailbox import ref as module
from actorsys.mailbox.codec import decode, encode


class Greet(Event):
    who: Ref


class Recorder:
    """Stands for the outbox: keeps the calls."""

    def __init__(self):
        self.calls = []

    async def tell(self, *words, **options):
        self.calls.append(("tell", words, options))

    async def ask(self, *words, **options):
        self.calls.append(("ask", words, options))
        return 5

    async def command(self, do, arguments):
        self.calls.append((do, arguments))
        return {"a": 1}


def test_refs_are_equal_by_name():
    assert Ref("a") == Ref("a", Recorder())
    assert Ref("a") != Ref("b")
    assert Ref("a") != "a"
    assert len({Ref("a"), Ref("a"), Ref("b")}) == 2
    assert repr(Ref("a")) == "<Ref a>"


def test_a_ref_in_a_message_talks_from_the_process_it_arrived_in(monkeypatch):
    home = Recorder()
    monkeypatch.setattr(module, "home", home)
    arrived = decode(encode(Greet(Ref("a", Recorder()))), Greet).who
    asyncio.run(arrived.tell("hello"))
    assert home.calls == [("tell", ("a", "hello"), {"priority": 3})]


def test_a_ref_without_a_home_says_where_to_get_one(monkeypatch):
    monkeypatch.setattr(module, "home", None)
    with pytest.raises(ActorError, match=r"use `supervisor.agent\('a'\)`"):
        asyncio.run(Ref("a").tell("hello"))


def test_every_verb_goes_to_the_outbox():
    outbox = Recorder()
    ref = Ref("a", outbox)

    async def main():
        assert await ref.ask("hello", 2.0, priority=1, when_down="fail") == 5
        assert await ref.state() == {"a": 1}
        assert await ref.info() == {"a": 1}
        await ref.stop()
        await ref.restart()

    asyncio.run(main())
    assert outbox.calls == [
        ("ask", ("a", "hello"), {"timeout": 2.0, "priority": 1, "when_down": "fail", "idempotent": False}),
        ("state", {"name": "a"}),
        ("info", {"name": "a"}),
        ("stop", {"names": ["a"]}),
        ("restart", {"names": ["a"]}),
    ]
