"""Every verb of the mixin, over the local bus; what needs a server is in test_plain_client.py and test_lost_server.py."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest

from actorsys import (
    ActorError,
    AskTimeout,
    BadMessage,
    ConfigError,
    DefinitionError,
    MailboxFull,
    Message,
    RemoteError,
    Request,
    UnknownAgent,
    Unreachable,
)
from actorsys.bus import envelope, stamp
from actorsys.bus.base import Incoming
from actorsys.bus.local import LocalBus, LocalHub
from actorsys.bus.outgoing import Letter
from actorsys.clock import now_ns
from actorsys.comms import AgentComms, NatsConfig
from actorsys.testing.waiting import eventually


class Add(Request[int], frozen=True):
    n: int


class Bot(AgentComms):
    """Keeps what it gets; `run` does what it is told."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tasks: list[Message] = []
        self.broadcasts: list[Message] = []
        self.notices: list[Message] = []
        self.gate = asyncio.Event()
        super().__init__()

    async def run(self, message: Any) -> Any:
        match message:
            case "raise":
                raise ValueError("no such thing")
            case "exit":
                sys.exit(3)
            case "wait":
                await self.gate.wait()
            case "cancelled":
                raise asyncio.CancelledError
            case "generator":
                raise GeneratorExit
            case "group":
                raise BaseExceptionGroup("many", [SystemExit(3), GeneratorExit()])
            case "object":
                return object()
            case "who":
                return [self.nats_message.sender, self.nats_message.priority]  # type: ignore[union-attr]
            case "stop":
                self.stop_nats()
        return {"echo": message}

    async def agentic_run(self, message: Message) -> Any:
        if message.payload == "wait":
            await self.gate.wait()
        self.tasks.append(message)
        if message.payload == "raise":
            raise ValueError("no such thing")
        return f"did {message.payload}"

    async def on_broadcast(self, message: Message) -> None:
        self.broadcasts.append(message)
        if message.payload == "raise":
            raise ValueError("no such thing")

    async def on_completed(self, message: Message) -> None:
        self.notices.append(message)


class Recording(LocalHub):
    """The real hub plus a list; a subscriber would count as somebody who listens."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[Letter] = []

    def route(self, letter: Letter) -> int:
        self.heard.append(letter)
        return super().route(letter)


class World:
    """A hub with agents on it, and what was said on its subjects."""

    def __init__(self) -> None:
        self.hub = Recording()
        self.bots: list[AgentComms] = []
        self.buses: list[LocalBus] = []

    async def bus(self) -> LocalBus:
        bus = LocalBus(self.hub)
        await bus.start()
        self.buses.append(bus)
        return bus

    async def connect(self, bot: AgentComms, config: NatsConfig | None = None, **about: Any) -> Any:
        config = config or NatsConfig(node="here", confirm_timeout=0.05)
        assert await bot.connect_nats(bus=await self.bus(), config=config, **about)
        self.bots.append(bot)
        return bot

    def said(self, subject: str) -> list[envelope.Envelope]:
        return [envelope.decode(each.payload, limit=2**20) for each in self.hub.heard if each.subject == subject]

    def has_left(self, name: str) -> bool:
        return any(each.from_agent == name and each.content.get("event") == "leave" for each in self.said("agents.all"))


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    made = World()
    try:
        yield made
    finally:
        for bot in made.bots:
            if isinstance(bot, Bot):
                bot.gate.set()
            await bot.disconnect_nats()
        for bus in made.buses:
            assert bus.stats().subscriptions == 0  # agents leave none on a bus that is not theirs
            await bus.close()


# --- the class


def test_a_class_without_a_name_is_told_when_it_is_made() -> None:
    class Nameless(AgentComms):
        pass

    with pytest.raises(DefinitionError, match=r"Nameless.name is not set; before `super\(\).__init__\(\)` make it a letter"):
        Nameless()
    Nameless.name = "a b"
    with pytest.raises(DefinitionError, match="is 'a b'"):
        Nameless()


def test_it_mixes_with_classes_that_take_arguments_and_with_those_that_do_not_pass_on() -> None:
    class Passes:
        def __init__(self, size: int) -> None:
            self.size = size
            super().__init__()

    class Keeps:
        def __init__(self, size: int) -> None:
            self.size = size

    class First(AgentComms, Keeps):
        name = "first"

    class Second(Passes, AgentComms):
        name = "second"

    class Third(Keeps, AgentComms):
        name = "third"

    assert [made(3).size for made in (First, Second, Third)] == [3, 3, 3]
    assert not Third(3).is_on_nats


def test_verbs_before_connecting_say_what_to_do(run: Any) -> None:
    async def main() -> None:
        bot = Bot("a")
        with pytest.raises(ActorError, match=r"a is not on NATS; `await connect_nats\(\)` first"):
            await bot.request_from_agent(to_agent="b", content=1)
        await bot.disconnect_nats()  # nothing to do

    run(main)


def test_connecting_twice_is_an_error(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            bot = await here.connect(Bot("a"))
            with pytest.raises(ActorError, match="already"):
                await bot.connect_nats()

    run(main)


def test_a_wrong_url_is_a_config_error_and_leaves_it_unconnected(run: Any, monkeypatch: Any) -> None:
    async def main() -> None:
        bot = Bot("a")
        monkeypatch.setenv("NATS_URL", "http://nowhere")
        for _ in range(2):
            with pytest.raises(ConfigError, match="is no NATS URL"):
                await bot.connect_nats()

    run(main)


# --- requests


def test_a_request_returns_the_content_of_the_answer(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one = await here.connect(Bot("One-1"))
            await here.connect(Bot("Two"))
            assert await one.request_from_agent(to_agent="Two", content={"x": [1]}, timeout=5) == {"echo": {"x": [1]}}
            assert await one.request_from_agent("Two", Add(2)) == {"echo": {"type": "Add", "n": 2}}
            assert await one.request_from_agent(to_agent="Two", content="who", priority=1) == ["One-1", 1]

    run(main)


def test_a_sync_run_blocks_a_thread_and_not_the_agent(run: Any) -> None:
    class Slow(AgentComms):
        name = "slow"

        def __init__(self) -> None:
            super().__init__()
            self.gate = threading.Event()
            self.told: list[str] = []

        def run(self, message: str) -> list[str]:
            assert self.gate.wait(20)
            return [message, threading.current_thread().name]

        def agentic_run(self, message: str) -> None:
            self.told.append(message)
            self.gate.set()

    async def main() -> None:
        async with world() as here:
            slow = await here.connect(Slow())
            bot = await here.connect(Bot("bot"))
            asked = asyncio.ensure_future(bot.request_from_agent(to_agent="slow", content="hello"))
            await bot.send_direct_message(to_agent="slow", content="go on")
            content, thread = await asked
            assert content == "hello"
            assert thread != threading.main_thread().name
            assert slow.told == ["go on"]

    run(main)


@pytest.mark.parametrize(("word", "kind"), [("raise", "ValueError"), ("exit", "SystemExit")])
def test_an_exception_goes_to_whoever_asked_and_the_agent_goes_on(run: Any, word: str, kind: str) -> None:
    async def main() -> None:
        async with world() as here:
            one, _two = await here.connect(Bot("one")), await here.connect(Bot("two"))
            with pytest.raises(RemoteError) as caught:
                await one.request_from_agent(to_agent="two", content=word)
            assert caught.value.type == kind
            assert "test_mixin.py" in (caught.value.traceback or "")
            assert await one.request_from_agent(to_agent="two", content=1) == {"echo": 1}

    run(main)


def test_an_answer_without_a_json_form_is_an_error(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one, _two = await here.connect(Bot("one")), await here.connect(Bot("two"))
            with pytest.raises(BadMessage, match="cannot be written as JSON"):
                await one.request_from_agent(to_agent="two", content="object")

    run(main)


def test_requests_that_cannot_be_answered_fail_with_a_type(run: Any) -> None:
    class Mute(AgentComms):
        name = "mute"

    async def main() -> None:
        async with world() as here:
            one = await here.connect(Bot("one"))
            await here.connect(Bot("writer"))
            await here.connect(Mute())
            await one.discover_agents(wait=0.05)
            with pytest.raises(UnknownAgent, match="Did you mean 'writer'"):
                await one.request_from_agent(to_agent="riter", content=1)
            with pytest.raises(BadMessage, match="answers no requests"):
                await one.request_from_agent(to_agent="mute", content=1)
            with pytest.raises(BadMessage, match="takes no tasks"):
                await one.send_direct_message(to_agent="mute", content=1)
            with pytest.raises(BadMessage, match="cannot name an agent"):
                await one.request_from_agent(to_agent="a b", content=1)
            with pytest.raises(BadMessage, match="priority is 9"):
                await one.request_from_agent(to_agent="writer", content=1, priority=9)
            with pytest.raises(BadMessage, match="JSON"):
                await one.request_from_agent(to_agent="writer", content=object())
            with pytest.raises(AskTimeout):
                await one.request_from_agent(to_agent="writer", content="wait", timeout=0.05)
            here.hub.stop()
            with pytest.raises(Unreachable):
                await one.request_from_agent(to_agent="writer", content=1)
            here.hub.start()

    run(main)


def test_a_request_whose_asker_gave_up_is_not_run(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            ran: list[str] = []

            class Slow(Bot):
                async def run(self, message: Any) -> Any:
                    ran.append(message)
                    return await super().run(message)

            one, two = await here.connect(Bot("one")), await here.connect(Slow("two"))
            first = asyncio.ensure_future(one.request_from_agent(to_agent="two", content="wait"))
            await eventually(lambda: ran)
            with pytest.raises(AskTimeout):
                await one.request_from_agent(to_agent="two", content="late", timeout=0.02)
            gave_up = now_ns()
            await eventually(lambda: now_ns() > gave_up + 20_000_000)  # the time counts from the arrival over there
            two.gate.set()
            await first
            assert await one.request_from_agent(to_agent="two", content="next") == {"echo": "next"}
            assert ran == ["wait", "next"]

    run(main)


def test_requests_are_handled_one_at_a_time_unless_more_is_wished_for(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one = await here.connect(Bot("one"))
            await here.connect(Bot("two"), NatsConfig(concurrency=2))
            waiting = asyncio.ensure_future(one.request_from_agent(to_agent="two", content="wait"))
            assert await one.request_from_agent(to_agent="two", content=1) == {"echo": 1}
            here.bots[1].gate.set()  # type: ignore[attr-defined]
            assert await waiting == {"echo": "wait"}

    run(main)


def test_an_agent_with_too_much_to_do_says_so(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one = await here.connect(Bot("one"))
            two = await here.connect(Bot("two"), NatsConfig(queue_size=1))
            for _ in range(2):
                await one.send_direct_message(to_agent="two", content="wait")
            with pytest.raises(MailboxFull, match="two has 1 messages waiting"):
                await one.send_direct_message(to_agent="two", content="more")
            assert await one.request_from_agent(to_agent="two", content=1) == {"echo": 1}
            two.gate.set()

    run(main)


# --- direct messages and handoffs


def test_a_direct_message_arrives_with_everything_and_wants_no_completion(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one, two = await here.connect(Bot("one")), await here.connect(Bot("two"))
            first = await one.send_direct_message(to_agent="two", content={"a": 1}, metadata={"k": "v"}, priority=2)
            await one.send_direct_message("two", "again", in_reply_to=first)
            await eventually(lambda: len(two.tasks) == 2)
            got, again = two.tasks
            assert (got.id, got.sender, got.to, got.payload, got.metadata) == (first, "one", "two", {"a": 1}, {"k": "v"})
            assert (got.priority, got.in_reply_to, again.in_reply_to) == (2, None, first)
            assert here.said("agents.direct.one") == []

    run(main)


def test_notify_asks_for_a_completion_which_is_acknowledged(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one, two = await here.connect(Bot("one")), await here.connect(Bot("two"))
            sent = await one.send_direct_message(to_agent="two", content="it", metadata={"notify": True})
            await eventually(lambda: one.notices and two.notices)
            (done,), (thanks,) = one.notices, two.notices
            assert (done.payload, done.sender, done.in_reply_to) == ("did it", "two", sent)
            assert done.metadata == {"notice": "completion", "outcome": "done"}
            assert thanks.metadata == {"notice": "acknowledgement", "outcome": "done"}
            assert (thanks.sender, thanks.in_reply_to, thanks.payload) == ("one", done.id, None)
            assert [task.payload for task in two.tasks] == ["it"]
            assert one.tasks == []

    run(main)


def test_an_ask_given_up_is_neither_task_nor_news(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one, two = await here.connect(Bot("one")), await here.connect(Bot("two"))
            await one.send_direct_message("two", None, metadata={"notice": "cancel"}, in_reply_to=str(uuid4()))
            await one.send_direct_message("two", "next")
            await eventually(lambda: two.tasks)
            assert [task.payload for task in two.tasks] == ["next"]
            assert two.notices == []

    run(main)


def test_a_handoff_leaves_a_record_does_the_task_and_comes_back_completed(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            chief, fact = await here.connect(Bot("Chief")), await here.connect(Bot("Fact-Checker"))
            sent = await chief.handoff_to_agent(to_agent="Fact-Checker", content="check", metadata={"k": 1})
            await eventually(lambda: chief.notices and fact.notices)
            (record,) = here.said("agents.handoff.chief.to.fact_checker")
            task, thanks = here.said("agents.direct.fact_checker")
            assert record == task
            assert (task.message_type, task.message_id, task.priority) == ("handoff", sent, 1)
            assert (task.from_agent, task.to_agent, task.content, task.metadata) == ("Chief", "Fact-Checker", "check", {"k": 1})
            (completion,) = here.said("agents.direct.chief")
            assert (completion.message_type, completion.in_reply_to, completion.content) == ("response", sent, "did check")
            assert (completion.metadata, completion.priority) == ({"notice": "completion"}, 1)
            assert (thanks.message_type, thanks.in_reply_to) == ("response", completion.message_id)
            assert thanks.metadata == {"notice": "acknowledgement"}

    run(main)


def test_a_handoff_that_fails_comes_back_failed(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            chief, _worker = await here.connect(Bot("chief")), await here.connect(Bot("worker"))
            sent = await chief.handoff_to_agent(to_agent="worker", content="raise")
            await eventually(lambda: chief.notices)
            (failed,) = chief.notices
            assert (failed.in_reply_to, failed.metadata) == (sent, {"notice": "completion", "outcome": "failed"})
            assert (failed.payload["type"], failed.payload["message"]) == ("ValueError", "no such thing")
            assert here.said("agents.direct.chief")[0].message_type == "error"

    run(main)


def test_a_handoff_to_nobody_is_an_error_and_stands_beside_the_record(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            chief = await here.connect(Bot("chief"))
            with pytest.raises(UnknownAgent):
                await chief.handoff_to_agent(to_agent="nobody", content="check")
            record, failed = here.said("agents.handoff.chief.to.nobody")
            assert (record.message_type, failed.message_type) == ("handoff", "error")
            assert failed.in_reply_to == record.message_id

    run(main)


@pytest.mark.parametrize("raised", ["cancelled", "generator", "group"])
def test_whatever_a_handler_raises_is_its_answer(run: Any, raised: str) -> None:
    async def main() -> None:
        async with world() as here:
            one, _two = await here.connect(Bot("one")), await here.connect(Bot("two"))
            with pytest.raises(RemoteError):
                await one.request_from_agent(to_agent="two", content=raised, timeout=5.0)
            assert await one.request_from_agent(to_agent="two", content="next", timeout=5.0) == {"echo": "next"}

    run(main)


def test_what_another_node_sends_again_is_confirmed_again_and_done_once(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            two = await here.connect(Bot("two"))
            bus = await here.bus()
            confirmed: list[Incoming] = []
            answers: list[Incoming] = []
            subscriptions = [await bus.subscribe("_INBOX.c", confirmed.append), await bus.subscribe("_INBOX.a", answers.append)]
            about = {"node": "far", "confirm": "_INBOX.c"}
            asked = envelope.encode(envelope.request("far", "two", "wait", stamp.fresh(), metadata=about))
            told = envelope.encode(envelope.message("far", "two", "once", stamp.fresh(), metadata=about))
            for _ in range(3):
                await bus.publish("agents.request.two", asked, reply="_INBOX.a")
                await bus.publish("agents.direct.two", told, reply="_INBOX.a")
            await eventually(lambda: len(confirmed) == 3 and len(answers) == 3)  # those of the tell
            two.gate.set()
            await eventually(lambda: len(answers) == 4)
            assert await two.request_from_agent(to_agent="two", content=1, timeout=5.0) == {"echo": 1}
            assert (len(answers), [task.payload for task in two.tasks]) == (4, ["once"])
            for each in subscriptions:
                await each.unsubscribe()

    run(main)


def test_a_request_that_was_refused_for_room_may_come_again(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            two = await here.connect(Bot("two"), NatsConfig(node="here", queue_size=1))
            bus = await here.bus()
            asked = [
                envelope.encode(envelope.request("far", "two", what, stamp.fresh(), metadata={"node": "far"}))
                for what in ("wait", "second", "third")
            ]
            waiting = asyncio.ensure_future(bus.request("agents.request.two", asked[0], 5.0))
            await eventually(lambda: two._AgentComms__session.status == "busy")  # type: ignore[attr-defined]
            await asyncio.sleep(0)
            second = asyncio.ensure_future(bus.request("agents.request.two", asked[1], 5.0))
            await eventually(lambda: len(two._AgentComms__session._requests._waiting) == 1)  # type: ignore[attr-defined]
            refused = envelope.decode((await bus.request("agents.request.two", asked[2], 5.0)).payload, limit=2**20)
            assert envelope.failure(refused).kind == "MailboxFull"
            two.gate.set()
            await asyncio.gather(waiting, second)
            again = envelope.decode((await bus.request("agents.request.two", asked[2], 5.0)).payload, limit=2**20)
            assert again.content == {"echo": "third"}

    run(main)


def test_a_listener_that_does_not_confirm_is_taken_to_have_the_message(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one = await here.connect(Bot("one"))
            got: list[Incoming] = []

            async def silent(incoming: Incoming) -> None:
                got.append(incoming)

            async def talks(incoming: Incoming) -> None:
                await bus.publish(incoming.reply, b'{"stream":"S","seq":1}')

            bus = await here.bus()
            subscriptions = [await bus.subscribe("agents.direct.quiet", silent)]
            subscriptions.append(await bus.subscribe("agents.direct.odd", talks))
            await one.send_direct_message(to_agent="quiet", content=1)
            await one.send_direct_message(to_agent="odd", content=1)
            assert len(got) == 1
            for each in subscriptions:
                await each.unsubscribe()

    run(main)


def test_urgent_tasks_overtake(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one, two = await here.connect(Bot("one")), await here.connect(Bot("two"))
            await one.send_direct_message(to_agent="two", content="wait")
            for number in range(3):
                await one.send_direct_message(to_agent="two", content=number)
            await one.handoff_to_agent(to_agent="two", content="now")
            two.gate.set()
            await eventually(lambda: len(two.tasks) == 5)
            assert [task.payload for task in two.tasks] == ["wait", "now", 0, 1, 2]

    run(main)


# --- everyone


def test_a_broadcast_reaches_everyone_else_and_is_no_task(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one, two, three = [await here.connect(Bot(name)) for name in ("one", "two", "three")]
            for content in ("raise", "hello"):
                await one.broadcast_message(content=content, metadata={"k": 1}, priority=2)
            await eventually(lambda: len(two.broadcasts) == len(three.broadcasts) == 2)
            got = two.broadcasts[1]
            assert (got.payload, got.sender, got.metadata, got.priority) == ("hello", "one", {"k": 1}, 2)
            assert one.broadcasts == two.tasks == three.tasks == []

    run(main)


def test_agents_announce_themselves_beat_and_say_goodbye(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            config = NatsConfig(heartbeat_interval=0.02, node="here")
            bot = await here.connect(Bot("bot"), config, capabilities=["x", "y"], description="a bot")
            await eventually(lambda: len(here.said("agents.all")) >= 3)
            await bot.send_direct_message(to_agent="bot", content="wait")
            await eventually(lambda: here.said("agents.all")[-1].content.get("status") == "busy")
            bot.gate.set()
            await bot.disconnect_nats()
            said = here.said("agents.all")
            join, first, leave = said[0], said[1], said[-1]
            about = {"node": "here", "capabilities": ["x", "y"], "description": "a bot", "instance": join.content["instance"]}
            assert (join.message_type, join.from_agent, join.content) == ("announcement", "bot", {"event": "join", **about})
            assert (first.message_type, first.content, first.priority) == ("heartbeat", {"status": "idle", **about}, 5)
            assert (leave.message_type, leave.content) == ("announcement", {"event": "leave", **about})

    run(main)


@pytest.mark.slow
def test_a_newcomer_of_another_node_hears_of_those_that_are_there(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            await here.connect(Bot("old"))
            assert [said.message_type for said in here.said("agents.all")] == ["announcement"]  # the interval is 30 s
            new = await here.connect(Bot("new"), NatsConfig(node="elsewhere"))
            peers = new._AgentComms__session.peers
            await eventually(lambda: len(peers))
            assert [peer.name for peer in peers.all(0)] == ["old"]

    run(main)


def test_agents_find_each_other(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one = await here.connect(Bot("one"))
            await here.connect(Bot("two"), capabilities=["write"], description="writes")
            three = await here.connect(Bot("three"), capabilities="fly")
            found = await one.discover_agents(wait=0.05)
            assert [(peer.name, peer.node, peer.capabilities) for peer in found] == [
                ("three", "here", ("fly",)),
                ("two", "here", ("write",)),
            ]
            assert [peer.name for peer in await three.discover_agents("write", wait=0.05)] == ["two"]
            await three.disconnect_nats()
            assert [peer.name for peer in await one.discover_agents(wait=0.05)] == ["two"]

    run(main)


def test_an_agent_that_ended_without_a_goodbye_is_found_no_more(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one = await here.connect(Bot("one"))
            two = await here.connect(Bot("two"))
            assert [peer.name for peer in await one.discover_agents(wait=0.05)] == ["two"]
            await two._AgentComms__session.bus.close()
            assert await one.discover_agents(wait=0.05) == []

    run(main)


@pytest.mark.parametrize("subject", ["agents.all", "agents.direct.bot", "agents.request.bot"])
@pytest.mark.parametrize("payload", [b"", b"x", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"message_type": "request"}'])
def test_rubbish_ends_nothing_and_its_sender_is_told(run: Any, subject: str, payload: bytes) -> None:
    async def main() -> None:
        async with world() as here:
            bot = await here.connect(Bot("bot"))
            bus = await here.bus()
            reply = await bus.request(subject, payload, 5.0)
            answer = envelope.decode(reply.payload, limit=2**20)
            assert (answer.message_type, answer.from_agent, answer.content["kind"]) == ("error", "bot", "BadMessage")
            await bus.publish(subject, payload)
            assert await bot.request_from_agent(to_agent="bot", content=1) == {"echo": 1}
            assert bot.tasks == bot.broadcasts == bot.notices == []

    run(main)


@pytest.mark.parametrize("message_type", ["response", "error", "announcement", "heartbeat", "broadcast", "handoff", "message"])
def test_any_type_on_any_subject_ends_nothing(run: Any, message_type: str) -> None:
    async def main() -> None:
        async with world() as here:
            bot = await here.connect(Bot("bot"))
            bus = await here.bus()
            made = envelope.Envelope(
                message_type=message_type,  # type: ignore[arg-type]
                from_agent="stranger",
                to_agent=None,
                content={"event": "leave", "status": 3},
                metadata={"notice": "completion", "notify": 1, "timeout": "x"},
                timestamp=stamp.fresh().timestamp,
                message_id=stamp.fresh().message_id,
                in_reply_to=None,
                priority=5,
            )
            for subject in ("agents.all", "agents.direct.bot", "agents.request.bot"):
                await bus.publish(subject, envelope.encode(made))
            assert await bot.request_from_agent(to_agent="bot", content=1) == {"echo": 1}
            assert bot.tasks == []  # it says of itself that it is a notice

    run(main)


# --- serving


def test_run_with_nats_serves_until_it_is_stopped_and_answers_first(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one, two = await here.connect(Bot("one")), Bot("two")
            serving = asyncio.ensure_future(two.run_with_nats(bus=await here.bus(), capabilities=["x"]))
            await eventually(lambda: two.is_on_nats and any(e.from_agent == "two" for e in here.said("agents.all")))
            assert await one.request_from_agent(to_agent="two", content="stop") == {"echo": "stop"}
            await serving
            assert here.has_left("two")
            assert not two.is_on_nats

    run(main)


@pytest.mark.parametrize("how", ["disconnect", "cancel"])
def test_run_with_nats_also_ends_by_disconnecting_and_by_cancellation(run: Any, how: str) -> None:
    async def main() -> None:
        async with world() as here:
            bot = await here.connect(Bot("bot"))
            serving = asyncio.ensure_future(bot.run_with_nats())
            await asyncio.sleep(0)
            await (bot.disconnect_nats() if how == "disconnect" else asyncio.sleep(0))
            if how == "cancel":
                serving.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await serving
            else:
                await serving
            await eventually(lambda: here.has_left("bot"))
            assert await bot.connect_nats(bus=await here.bus())  # and it can come again

    run(main)


def test_the_end_waits_for_the_work_under_way_but_not_for_ever(run: Any) -> None:
    async def main() -> None:
        async with world() as here:
            one = await here.connect(Bot("one"))
            two = await here.connect(Bot("two"))
            asked = asyncio.ensure_future(one.request_from_agent(to_agent="two", content="wait"))
            await eventually(lambda: two._AgentComms__session.status == "busy")
            ending = asyncio.ensure_future(two.disconnect_nats())
            await eventually(lambda: here.has_left("two"))
            assert not ending.done()
            two.gate.set()
            assert await asked == {"echo": "wait"}
            await ending
            three = await here.connect(Bot("three"), NatsConfig(drain_timeout=0.02, confirm_timeout=1.0))
            await one.send_direct_message(to_agent="three", content="wait")
            await three.disconnect_nats()
            assert three.tasks == []

    run(main)


def test_a_handler_may_disconnect_its_own_agent(run: Any) -> None:
    class Leaver(AgentComms):
        name = "leaver"

        async def agentic_run(self, message: str) -> None:
            await self.disconnect_nats()

    async def main() -> None:
        async with world() as here:
            one, leaver = await here.connect(Bot("one")), await here.connect(Leaver())
            await one.send_direct_message(to_agent="leaver", content="go")
            await eventually(lambda: not leaver.is_on_nats)

    run(main)


@pytest.mark.slow
def test_a_signal_stops_it_in_order() -> None:
    program = """
import asyncio
from actorsys.bus.local import LocalBus
from actorsys.comms import AgentComms

class Bot(AgentComms):
    name = "bot"

async def main():
    async with LocalBus() as bus:
        await bus.subscribe("agents.all", show)
        await Bot().run_with_nats(bus=bus, signals=True)
        await asyncio.sleep(0)
    print("ended")

async def show(incoming):
    print(incoming.payload.decode(), flush=True)

asyncio.run(main())
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert '"event":"join"' in process.stdout.readline()
        os.kill(process.pid, signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
        assert '"event":"leave"' in rest
        assert rest.endswith("ended\n")
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
