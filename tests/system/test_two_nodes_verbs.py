"""What an agent does on NATS besides asking and telling by name: handoffs, broadcasts, asks by capability, asks that are given up."""

import asyncio
import contextlib
import json
import os
import signal

import nats
import pytest
from test_two_nodes import connected, row, server_needed, spawned, there, two_nodes, url_of
from verbs_agents import (
    Delegate,
    DieOnce,
    Early,
    Editor,
    Failing,
    Give,
    Heard,
    Listener,
    Nap,
    Plain,
    Shout,
    Sleeper,
    Who,
    Writer,
)

from actorsys import AgentDown, AskTimeout, RemoteError, Supervisor, UnknownAgent, Unreachable
from actorsys.testing.waiting import eventually

__all__ = ["server_needed"]  # a fixture


async def heard(ref, count):
    """What an agent has heard, once it is so much."""
    async with asyncio.timeout(10):
        while len(said := await ref.ask(Heard())) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return said


@contextlib.asynccontextmanager
async def listening(server, subject):
    """The envelopes on a subject, by a client of their own."""
    client = await nats.connect(url_of(server))
    try:
        subscription = await client.subscribe(subject)
        await client.flush()

        async def following():
            return json.loads((await subscription.next_msg(10)).data)

        yield following
    finally:
        await client.close()


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_task_is_handed_over_done_and_both_sides_are_told(run, folder, where):
    async def main():
        async with two_nodes(folder) as (server, a, b), listening(server, "agents.handoff.*.to.*") as following:
            editor = await spawned(a, Editor, "Chief-Editor")
            writer = await spawned(a if where == "here" else b, Writer, "writer")
            number = await editor.ask(Give("writer", "tides"))
            assert await heard(editor, 1) == [["writer", number, "done", "on tides"]]
            assert await heard(writer, 2) == [["tides", "dry", 1], "acknowledgement"]
            record = await following()
            assert (record["message_type"], record["message_id"], record["priority"]) == ("handoff", number, 1)
            assert (record["from_agent"], record["to_agent"]) == ("Chief-Editor", "writer")
            assert record["content"] == {"type": "Write", "topic": "tides"}

    run(main())


def test_a_task_that_fails_is_told_and_crashes_nobody(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            editor = await spawned(a, Editor, "editor")
            await spawned(b, Writer, "writer")
            number = await editor.ask(Give("writer", "nothing"))
            assert await heard(editor, 1) == [["writer", number, "failed", "about nothing"]]
            await eventually(lambda: row(b, "writer")["dead_letters"] == 1)
            assert row(b, "writer")["restarts"] == 0

    run(main())


def test_a_task_that_nobody_takes_is_an_error_and_so_says_its_record(run, folder):
    async def main():
        async with two_nodes(folder) as (server, a, b), listening(server, "agents.handoff.editor.to.>") as following:
            editor = await spawned(a, Editor, "editor")
            await spawned(b, Writer, "writer")
            await there(a, "writer")
            with pytest.raises(UnknownAgent, match="'writer'"):
                await editor.ask(Give("writter", "tides"))
            record, failure = await following(), await following()
            assert (failure["message_type"], failure["in_reply_to"]) == ("error", record["message_id"])
            assert failure["content"]["kind"] == "UnknownAgent"

    run(main())


def test_a_handler_that_runs_again_hands_its_task_over_once(run, folder):
    async def main():
        async with two_nodes(folder) as (server, a, b), listening(server, "agents.handoff.>") as following:
            editor = await spawned(a, Editor, "editor")
            writer = await spawned(b, Writer, "writer")
            await there(a, "writer")
            await editor.tell(DieOnce("writer", "tides", str(folder / "mark")))
            first, again = await following(), await following()
            assert first["message_id"] == again["message_id"]
            await eventually(lambda: row(a, "editor")["mailbox"] == 0)
            assert row(a, "editor")["restarts"] == 1
            assert await heard(writer, 2) == [["tides", None, 1], "acknowledgement"]  # the completion waited for its next life
            assert (await heard(editor, 1))[0][1:] == [first["message_id"], "done", "on tides"]

    run(main())


def test_without_nats_a_handoff_and_a_broadcast_are_unreachable(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            editor = await sup.spawn(Editor, name="editor")
            await sup.spawn(Writer, name="writer")
            for message in (Give("writer", "tides"), Shout("hello")):
                with pytest.raises(Unreachable, match="NATS is off"):
                    await editor.ask(message)
            assert row(sup, "editor")["restarts"] == 0

    run(main())


def test_a_broadcast_goes_by_its_type_then_to_the_hook_then_to_receive(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            editor = await spawned(a, Editor, "editor")
            listeners = [await spawned(sup, Listener, name) for sup, name in ((a, "one"), (b, "two"))]
            plain = await spawned(b, Plain, "plain")
            await editor.ask(Shout({"news": "rain"}))
            await editor.ask(Shout("hello"))
            for listener in listeners:
                assert await heard(listener, 2) == [["news", "rain"], ["hook", "hello"]]
            assert [said[1] for said in await heard(plain, 2)] == [{"text": "rain"}, "hello"]
            assert await editor.ask(Heard()) == []
            assert sum(row(sup, name)["dead_letters"] for sup, name in ((a, "one"), (b, "two"), (b, "plain"))) == 0

    run(main())


def test_an_agent_without_the_hook_hears_of_completions_in_receive(run, folder):
    async def main():
        async with two_nodes(folder) as (server, _, b):
            plain = await spawned(b, Plain, "plain")
            client = await nats.connect(url_of(server))
            try:
                said = {
                    "message_type": "error",
                    "from_agent": "tester",
                    "to_agent": "plain",
                    "content": {"kind": "RemoteError", "type": "ValueError", "message": "no"},
                    "metadata": {"notice": "completion"},
                    "timestamp": "2026-01-02T03:04:05Z",
                    "message_id": "6f2b1c1e-8d9f-4f8e-9f59-0d7a3c5b1f10",
                    "in_reply_to": None,
                    "priority": 1,
                }
                await client.publish("agents.direct.plain", json.dumps(said).encode())
                await client.flush()
            finally:
                await client.close()
            assert (await heard(plain, 1))[0][2] == "failed"

    run(main())


# --- asks that are given up


async def busy(sup, name, count=1):
    await eventually(lambda: row(sup, name)["mailbox"] == count)


def test_cancelling_an_ask_stops_its_handler_on_the_other_node(run_on_either, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            sleeper = await spawned(b, Sleeper, "sleeper")
            first, second = (asyncio.ensure_future(a.agent("sleeper").ask(Nap())) for _ in range(2))
            await busy(b, "sleeper", 2)
            second.cancel()  # waits, in the window or in the mailbox
            first.cancel()
            await eventually(lambda: row(b, "sleeper")["mailbox"] == 0)
            assert await asyncio.wait_for(sleeper.ask(Who()), 5) == "sleeper"
            assert (row(b, "sleeper")["restarts"], row(b, "sleeper")["dead_letters"]) == (0, 0)

    run_on_either(main())


def test_a_handler_that_waits_no_longer_stops_the_one_over_there(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            near = await spawned(a, Sleeper, "near")
            await spawned(b, Sleeper, "far")
            assert await near.ask(Nap(far="far", limit=0.3), timeout=10) == "waited enough"
            await eventually(lambda: row(b, "far")["mailbox"] == 0)
            through = asyncio.ensure_future(near.ask(Nap(far="far")))
            await busy(b, "far")
            through.cancel()  # from here to near, from there to far
            await eventually(lambda: row(b, "far")["mailbox"] == 0)

    run(main())


def test_an_agent_that_is_stopped_gives_up_what_it_asked_elsewhere(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            near = await spawned(a, Sleeper, "near", stop_timeout=0.4)
            await spawned(b, Sleeper, "far")
            asked = asyncio.ensure_future(near.ask(Nap(far="far")))
            await busy(b, "far")
            await near.stop()
            await eventually(lambda: row(b, "far")["mailbox"] == 0)
            asked.cancel()

    run(main())


def test_a_replica_that_hears_of_it_stops_the_handler_of_another(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            await b.spawn(Sleeper, name="sleeper", replicas=3)
            await connected(b, "sleeper/0", "sleeper/1", "sleeper/2")
            asks = [asyncio.ensure_future(a.agent("sleeper").ask(Nap())) for _ in range(6)]
            await eventually(lambda: sum(row(b, f"sleeper/{n}")["mailbox"] for n in range(3)) == 6)
            for ask in asks:
                ask.cancel()
            await eventually(lambda: sum(row(b, f"sleeper/{n}")["mailbox"] for n in range(3)) == 0)

    run(main())


def test_an_ask_given_up_while_the_agent_restarts_is_not_handled_again(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            sleeper = await spawned(b, Sleeper, "sleeper", restart={"backoff": 1.0, "max_restarts": 50})
            os.kill(row(b, "sleeper")["pid"], signal.SIGKILL)
            await eventually(lambda: row(b, "sleeper")["restarts"] == 1 and row(b, "sleeper")["state"] == "running")
            asked = asyncio.ensure_future(a.agent("sleeper").ask(Nap()))
            await eventually(lambda: row(b, "sleeper")["in_flight"] == 1)
            os.kill(row(b, "sleeper")["pid"], signal.SIGKILL)
            await eventually(lambda: row(b, "sleeper")["state"] == "backoff")
            asked.cancel()
            assert await asyncio.wait_for(sleeper.ask(Who()), 10) == "sleeper"

    run(main())


def test_names_that_answer_cost_no_breaker(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            await spawned(b, Sleeper, "sleeper")
            breakers = a.presence._calls.breakers
            assert await a.agent("sleeper").ask(Who()) == "sleeper"
            with pytest.raises(UnknownAgent):
                await a.agent("nobody").ask(Who())
            assert not breakers
            await busy(b, "sleeper", 0)  # an answer leaves before its acknowledgement
            blocking = asyncio.ensure_future(a.agent("sleeper").ask(Nap()))
            await busy(b, "sleeper")
            for _ in range(5):
                with pytest.raises(AskTimeout):
                    await a.agent("sleeper").ask(Who(), timeout=0.02)
            with pytest.raises(AgentDown, match="is not asked: the last 5 asks got no answer"):
                await a.agent("sleeper").ask(Who())
            assert list(breakers) == ["sleeper"]
            blocking.cancel()

            async def answers():
                with contextlib.suppress(AgentDown):
                    return await a.agent("sleeper").ask(Who())

            async with asyncio.timeout(10):
                while await answers() is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            assert not breakers

    run(main())


def test_an_answer_that_tells_of_a_failure_costs_no_breaker(run, folder):
    async def main():
        async with two_nodes(folder) as (server, a, _):
            client = await nats.connect(url_of(server))
            try:

                async def failed(message):
                    asked = json.loads(message.data)
                    content = {"kind": "AskTimeout", "type": "AskTimeout", "message": "whom I asked did not answer"}
                    told = {"message_type": "error", "from_agent": "far", "to_agent": asked["from_agent"], "content": content}
                    rest = {"metadata": {}, "timestamp": asked["timestamp"], "message_id": asked["message_id"], "priority": 3}
                    await message.respond(json.dumps({**told, **rest, "in_reply_to": asked["message_id"]}).encode())

                await client.subscribe("agents.request.far", cb=failed)
                await client.flush()
                for _ in range(7):
                    with pytest.raises(AskTimeout, match="whom I asked"):
                        await a.agent("far").ask(Who())
                assert not a.presence._calls.breakers
            finally:
                await client.close()

    run(main())


@pytest.mark.slow
def test_who_does_not_tell_repetitions_apart_is_asked_and_told_once(run, folder):
    async def main():
        async with two_nodes(folder) as (server, a, _), listening(server, "agents.handoff.>") as following:
            client = await nats.connect(url_of(server))
            try:
                got = []

                async def silent(message):
                    got.append(message.subject)

                await client.subscribe("agents.*.plain", cb=silent)
                await client.flush()
                with pytest.raises(AskTimeout):
                    await a.agent("plain").ask(Who(), timeout=1.0)
                assert got == ["agents.request.plain"]
                editor = await spawned(a, Editor, "editor")
                giving = asyncio.ensure_future(editor.ask(Give("plain", "tides"), timeout=1.0))
                assert (await following())["message_type"] == "handoff"
                with pytest.raises(AskTimeout):
                    await giving
                assert got == ["agents.request.plain", "agents.direct.plain"]
            finally:
                await client.close()

    run(main())


@pytest.mark.slow
def test_tells_to_a_full_mailbox_are_each_said_once(run, folder):
    async def main():
        async with two_nodes(folder) as (server, a, b):
            sleeper = await spawned(b, Sleeper, "sleeper", mailbox={"size": 2})
            await there(a, "sleeper")
            client = await nats.connect(url_of(server))
            try:
                got = []

                async def count(message):
                    got.append(message.subject)

                await client.subscribe("agents.direct.sleeper", cb=count)
                await client.flush()
                napping = asyncio.ensure_future(sleeper.ask(Nap()))
                await busy(b, "sleeper")
                telling = [asyncio.ensure_future(a.agent("sleeper").tell(Who())) for _ in range(20)]
                await asyncio.wait(telling, timeout=1.5)  # three repetitions of each
                napping.cancel()
                await asyncio.gather(*telling)
                assert len(got) == 20
            finally:
                await client.close()

    run(main())


# --- asks by capability


def test_an_ask_by_capability_finds_somebody_here_before_it_looks_elsewhere(run_on_either, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            editor = await spawned(a, Editor, "editor", capabilities=["edit", "write"])
            await spawned(b, Writer, "far", capabilities=["write"])
            await there(a, "far")
            assert await editor.ask(Delegate("write")) == "far"  # never itself
            for name in ("near", "nearer"):
                await spawned(a, Writer, name, capabilities=["write"])
            assert {await editor.ask(Delegate("write")) for _ in range(40)} == {"near", "nearer"}
            with pytest.raises(UnknownAgent, match=r"no other agent has the capability 'wirte'. Did you mean 'write'\?"):
                await editor.ask(Delegate("wirte"))
            with pytest.raises(UnknownAgent, match="no other agent has the capability 'edit'"):
                await editor.ask(Delegate("edit"))

    run_on_either(main())


def test_an_ask_by_capability_goes_to_the_one_with_the_least_mail(run, folder):
    async def main():
        async with Supervisor(nats="off") as sup:
            editor = await sup.spawn(Editor, name="editor")
            for name in ("one", "two"):
                await sup.spawn(Sleeper, name=name, capabilities=["rest"])
            asked = asyncio.ensure_future(sup.agent("one").ask(Nap()))
            await busy(sup, "one")
            assert {await editor.ask(Delegate("rest")) for _ in range(10)} == {"two"}
            asked.cancel()

    run(main())


def test_an_ask_by_capability_passes_over_one_that_is_gone(run, folder):
    async def main():
        async with two_nodes(folder) as (server, a, b):
            editor = await spawned(a, Editor, "editor")
            await spawned(b, Writer, "far", capabilities=["write"])
            await there(a, "far")
            client = await nats.connect(url_of(server))
            try:  # somebody who is announced, but does not listen
                said = {
                    "message_type": "announcement",
                    "from_agent": "ghost",
                    "to_agent": None,
                    "content": {"event": "join", "node": "c", "capabilities": ["write"]},
                    "metadata": {},
                    "timestamp": "2026-01-02T03:04:05Z",
                    "message_id": "6f2b1c1e-8d9f-4f8e-9f59-0d7a3c5b1f11",
                    "in_reply_to": None,
                    "priority": 3,
                }
                await client.publish("agents.all", json.dumps(said).encode())
                await client.flush()
            finally:
                await client.close()
            await there(a, "ghost", "joined")
            assert {await editor.ask(Delegate("write")) for _ in range(4)} == {"far"}

    run(main())


# --- too early


def test_on_start_reaches_nobody_elsewhere_and_says_so(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            await spawned(b, Writer, "far")
            early = await a.spawn(Early, name="early")
            said = await early.ask(Heard())
            assert len(said) == 4
            assert all("opened after on_start" in text for text in said)
        async with Supervisor(nats="off") as sup:
            early = await sup.spawn(Early, name="early")
            assert "unknown" in await early.ask(Heard())

    run(main())


def test_a_remote_error_is_one_when_asked_by_capability(run):
    async def main():
        async with Supervisor(nats="off") as sup:
            editor = await sup.spawn(Editor, name="editor")
            await sup.spawn(Failing, name="failing", capabilities=["fail"])
            with pytest.raises(RemoteError, match="cannot"):
                await editor.ask(Delegate("fail"))

    run(main())
