"""Every agent answers the state messages; from off the node only the reading ones, unless it allows more."""

import pytest

from actorsys import Agent, Clear, Delete, Get, List, Request, Store, on
from actorsys.mailbox.codec import decode, encode
from actorsys.mailbox.letter import ASK, FAILURE, HOST, REMOTE, REPLY, Letter
from actorsys.memory.base import Restored
from actorsys.messages import Failure
from actorsys.runtime.routes import routes
from actorsys.runtime.state_messages import state_routes


class Plain(Agent):
    pass


class Own(Agent):
    @on
    async def get(self, msg: Get) -> object:
        return f"my {msg.key}"


def serve(rig):
    """As the agent's process does it."""
    cls = type(rig.agent)
    rig.runtime.serve({**state_routes(rig.runtime, cls.__handlers__), **routes(rig.agent, cls.__handlers__)}, {})


async def asked(rig, message, **more):
    number = rig.ask(message, **more)
    await rig.acked(number)
    (letter,) = [letter for letter in rig.letters if letter.id == number]
    return decode(letter.payload) if letter.kind == REPLY else decode(letter.payload, Failure)


@pytest.fixture
def served(check):
    def run(cls, body, **options):
        async def main(rig):
            serve(rig)
            await body(rig)

        check(cls, main, serve=False, **options)

    return run


def test_others_read_and_write_the_state(served, durable):
    async def body(rig):
        assert await asked(rig, Get("a")) is None
        assert await asked(rig, Store("a", {"x": [1]})) is None
        await asked(rig, Store("ab", 2))
        await asked(rig, Store("b", 3))
        assert await asked(rig, Get("a")) == {"x": [1]}
        assert await asked(rig, List()) == ["a", "ab", "b"]
        assert await asked(rig, List("a")) == ["a", "ab"]
        await asked(rig, Delete("a"))
        await asked(rig, Delete("a"))
        assert await asked(rig, List()) == ["ab", "b"]
        await asked(rig, Clear())
        assert await asked(rig, List()) == []
        assert durable.commits[0][0] == {"a": encode({"x": [1]})}
        assert durable.commits[-1][0] == {"ab": None, "b": None}

    served(Plain, body, memory=durable)


def test_a_handler_of_its_own_comes_first(served):
    async def body(rig):
        assert await asked(rig, Get("a")) == "my a"
        assert await asked(rig, List()) == []

    served(Own, body)


REFUSED = "the state of 'a' can only be read from off its node"


@pytest.mark.parametrize("message", [Store("a", 2), Delete("a"), Clear()], ids=lambda message: type(message).__name__)
def test_from_off_the_node_it_can_only_be_read(served, message):
    async def body(rig):
        assert await asked(rig, Get("a"), flags=REMOTE) == 1
        assert await asked(rig, List(), flags=REMOTE) == ["a"]
        failure = await asked(rig, message, flags=REMOTE)
        assert failure.message.startswith(REFUSED)
        assert failure.details["reason"] == "refused"
        assert dict(rig.runtime.state) == {"a": 1}

    served(Plain, body, restored=Restored({"a": encode(1)}))


def test_with_remote_state_it_can_be_written_from_off_the_node(served):
    async def body(rig):
        assert await asked(rig, Store("a", 2), flags=REMOTE) is None
        assert dict(rig.runtime.state) == {"a": 2}

    served(Plain, body, remote_state=True)


@pytest.mark.parametrize(("payload", "answer"), [({"type": "Get", "key": "a"}, 1), ({"type": "List"}, ["a"])])
def test_plain_json_reads_it_too(served, payload, answer):
    async def body(rig):
        rig.runtime.deliver([Letter(ASK, 1, "a", HOST, "", encode(payload))])
        await rig.acked(1)
        assert decode(rig.letters[0].payload) == answer

    served(Plain, body, restored=Restored({"a": encode(1)}))


class Shopping(Agent):
    class List(Request[str]):
        pass

    @on
    async def shopping_list(self, msg: List) -> str:
        return "milk"


def test_a_name_that_the_agent_uses_for_its_own_message_is_its_own(served):
    async def body(rig):
        rig.runtime.deliver([Letter(ASK, 99, "a", HOST, "", encode({"type": "List"}))])
        await rig.acked(99)
        assert decode(rig.letters[0].payload) == "milk"
        assert await asked(rig, List()) == []

    served(Shopping, body)


def test_an_unknown_message_names_the_agents_own(served):
    async def body(rig):
        rig.runtime.deliver([Letter(ASK, 1, "a", HOST, "", encode({"type": "Nonsense"}))])
        await rig.acked(1)
        (letter,) = rig.letters
        assert letter.kind == FAILURE
        assert decode(letter.payload, Failure).message == "'a' takes no Nonsense; it takes nothing."

    served(Plain, body)
