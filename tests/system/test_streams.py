"""Answers in parts, between real processes."""

import asyncio
import contextlib
import json
import os
import signal
import uuid

import nats
import psutil
import pytest
from stream_agents import Asleep, Begin, Blob, Count, Events, Pass, Plain, Produced, Read, Reader, Round, Streamer
from system_agents import Pid

from actorsys import ActorError, AgentDown, AskCycle, AskTimeout, BadMessage, RemoteError, Supervisor, UnknownAgent
from actorsys.mailbox.letter import STREAM_WINDOW
from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import eventually, until

MIB = 2**20


async def collect(stream):
    """The parts, and the error that ended them."""
    parts = []
    try:
        async for part in stream:
            parts.append(part)  # noqa: PERF401 - what came before an error counts
    except ActorError as error:
        return parts, error
    return parts, None


def test_ten_thousand_parts_come_in_order_to_the_host_and_to_an_agent(run_on_either):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer")
            reader = await sup.spawn(Reader, name="reader")
            numbers = [*range(10_000)]
            assert [part async for part in streamer.stream(Count(10_000))] == numbers
            assert await reader.ask(Read("streamer", Count(10_000))) == numbers

    run_on_either(main())


def test_streams_may_pass_through_agents(run):
    async def main():
        async with Supervisor() as sup:
            first = await sup.spawn(Streamer, name="first")
            await sup.spawn(Streamer, name="second")
            assert [part async for part in first.stream(Pass("second", Count(1000)))] == [*range(1000)]

    run(main())


def test_an_error_comes_after_what_was_yielded_and_the_agent_lives_on(run):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer")
            parts, error = await collect(streamer.stream(Count(10, wrong=3)))
            assert parts == [0, 1, 2]
            assert isinstance(error, RemoteError)
            assert (error.type, "stream_agents.py" in (error.traceback or "")) == ("ValueError", True)
            assert await streamer.ask(Events()) == ["begun", "over"]

    run(main())


def test_an_agent_that_dies_in_mid_stream_ends_it_and_its_handler_is_not_run_again(run):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer")
            parts, error = await collect(streamer.stream(Count(10, deadly=3)))
            assert parts == [0, 1, 2]
            assert isinstance(error, AgentDown)
            assert (error.may_have_run, error.reason.startswith("killed by SIGKILL")) == (True, True)
            assert await streamer.ask(Events()) == []
            assert (await streamer.info())["restarts"] == 1

    run(main())


def test_an_agent_killed_from_outside_in_mid_stream_ends_it_at_once(run):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer")
            pid = await streamer.ask(Pid())
            stream = streamer.stream(Asleep())
            assert await anext(stream) == 1
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(5):
                with pytest.raises(AgentDown):
                    await anext(stream)
            assert await streamer.ask(Events()) == []

    run(main())


def test_a_stream_whose_agent_dies_before_the_first_part_is_handled_again(run):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer")
            parts, error = await collect(streamer.stream(Count(10, deadly=0)))
            assert parts == []
            assert isinstance(error, AgentDown)
            assert error.reason.startswith("killed 'streamer' 3 times: killed by SIGKILL")

    run(main())


def test_a_slow_reader_slows_the_handler_and_nothing_piles_up(run):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer", concurrency=2)
            host, agent = psutil.Process(), psutil.Process(await streamer.ask(Pid()))
            before = host.memory_info().rss, agent.memory_info().rss
            stream = streamer.stream(Blob(2000, 256 * 1024))  # 500 MiB in all
            await anext(stream)
            waits = await eventually_still(lambda: streamer.ask(Produced()))
            assert waits <= 6  # 65 units each, of 256
            grown = host.memory_info().rss - before[0], agent.memory_info().rss - before[1]
            assert max(grown) < 30 * MIB
            assert len([part async for part in stream]) == 1999
            assert max(host.memory_info().rss - before[0], agent.memory_info().rss - before[1]) < 60 * MIB

    run(main())


async def eventually_still(ask):
    """A value, once it is the same five times in a row."""
    seen = []
    while len(seen) < 5 or len(set(seen[-5:])) > 1:
        seen.append(await ask())
        await asyncio.sleep(0.01)
    return seen[-1]


def test_closing_a_stream_runs_the_finally_blocks_and_takes_the_state_back(run):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer")
            async for _ in streamer.stream(Asleep()):
                break
            assert await streamer.ask(Events()) == ["woken"]
            assert await streamer.state() == {}
            async for part in streamer.stream(Count(10**9)):
                if part == 1000:
                    break
            assert await streamer.ask(Events()) == ["woken", "begun", "over"]

    run(main())


def test_a_part_that_is_late_is_an_ask_timeout_and_stops_the_handler(run):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer")
            parts, error = await collect(streamer.stream(Asleep(), timeout=0.2))
            assert (parts, type(error)) == ([1], AskTimeout)
            assert await streamer.ask(Events()) == ["woken"]
            assert len([part async for part in streamer.stream(Count(8, seconds=0.1), timeout=0.5)]) == 8

    run(main())


def test_a_stream_ends_with_the_agent_that_reads_it(run):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer")
            reader = await sup.spawn(Reader, name="reader")
            pid = await reader.ask(Pid())
            assert await reader.ask(Begin("streamer")) == 1
            os.kill(pid, signal.SIGKILL)
            assert await streamer.ask(Events()) == ["woken"]

    run(main())


def test_the_other_ways_to_use_a_handler(run):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer")
            with pytest.raises(BadMessage, match=r"Count is answered in parts; read them with `async for part in ref\.stream"):
                await streamer.ask(Count(1))
            await streamer.tell(Count(3))
            assert await streamer.ask(Produced()) == 3
            assert [part async for part in streamer.stream(Plain())] == [7]
            assert [part async for part in streamer.stream({"type": "Count", "n": 2})] == [0, 1]
            with pytest.raises(UnknownAgent, match="Did you mean 'streamer'"):
                await anext(sup.agent("streamr").stream(Count(1)))

    run(main())


def test_streams_that_wait_for_each_other_are_an_ask_cycle(run):
    async def main():
        async with Supervisor() as sup:
            first = await sup.spawn(Streamer, name="first")
            await sup.spawn(Streamer, name="second")
            parts, error = await collect(first.stream(Round("second")))
            assert (parts, type(error)) == ([], AskCycle)

    run(main())


def test_open_streams_end_when_their_supervisor_stops(run):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer", stop_timeout=1.0)
            stream = streamer.stream(Asleep())
            await anext(stream)
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
        with pytest.raises(AgentDown):
            await waiting

    run(main())


@pytest.mark.parametrize("memory", ["in_memory", "sqlite"])
def test_a_stopped_agent_keeps_a_stream_that_has_not_begun(run, memory):
    async def main():
        async with Supervisor() as sup:
            streamer = await sup.spawn(Streamer, name="streamer", memory=memory)
            await streamer.stop()
            reading = asyncio.ensure_future(collect(streamer.stream(Count(3))))
            await eventually(lambda: sup.children()[0]["mailbox"] == 1)
            await streamer.restart()
            assert await reading == ([0, 1, 2], None)

    run(main())


def test_the_command_line_prints_each_part_as_it_comes(node):
    node.write('[nats]\nmode = "off"\n[agents.streamer]\ntype = "stream_agents:Streamer"\n')
    node.supervise()
    assert node.call("ask", "streamer", "Count", "n=3") == "0\n1\n2\n"
    assert node.call("ask", "streamer", "Plain") == "7\n"
    assert node.call("ask", "streamer", "Count", "--json", '{"n": 2}') == "0\n1\n"
    assert "ValueError: wrong" in node.call("ask", "streamer", "Count", "n=3", "wrong=1", code=1)
    assert "sent no part within 200ms" in node.call("ask", "streamer", "Asleep", "--timeout", "0.2", code=4)
    with node.begin("ask", "streamer", "Asleep") as asking:
        assert asking.stdout.readline() == b"1\n"
        asking.terminate()
    assert until(lambda: json.loads(node.call("ask", "streamer", "Events")).count("woken") == 2)


# --- between nodes


@contextlib.asynccontextmanager
async def two_nodes(folder):
    """Server, and two nodes "a" and "b"; "b" has an agent "streamer"."""
    require_server()
    async with run_server(folder / "nats") as server:
        url = server.url.replace("nats://", f"nats://{server.info.token}@")
        async with Supervisor(nats=url, name="a") as a, Supervisor(nats=url, name="b") as b:
            await eventually(lambda: a.presence.bus.is_connected and b.presence.bus.is_connected)
            streamer = await b.spawn(Streamer, name="streamer")
            await eventually(lambda: b.children()[0]["nats"] == "connected")
            await eventually(lambda: any(peer["name"] == "streamer" for peer in a.peers()))
            yield server, a, b, streamer


async def reader_of(sup):
    reader = await sup.spawn(Reader, name="reader")
    await eventually(lambda: sup.children()[0]["nats"] == "connected")
    return reader


def test_ten_thousand_parts_come_in_order_from_another_node(run_on_either, folder):
    async def main():
        async with two_nodes(folder) as (_, a, _, _):
            numbers = [*range(10_000)]
            assert [part async for part in a.agent("streamer").stream(Count(10_000))] == numbers
            reader = await reader_of(a)
            assert await reader.ask(Read("streamer", Count(10_000))) == numbers

    run_on_either(main())


def test_many_streams_of_one_reader_come_side_by_side_from_another_node(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b, _):
            await b.spawn(Streamer, name="many", concurrency=8)
            await eventually(lambda: all(row["nats"] == "connected" for row in b.children()))
            await eventually(lambda: any(peer["name"] == "many" for peer in a.peers()))
            read = await asyncio.gather(*[collect(a.agent("many").stream(Count(500, seconds=0.0001))) for _ in range(8)])
            assert read == [([*range(500)], None)] * 8

    run(main())


def test_errors_of_a_stream_from_another_node_are_those_of_this_one(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, _, streamer):
            far = a.agent("streamer")
            parts, error = await collect(far.stream(Count(10, wrong=3)))
            assert (parts, type(error), error.type) == ([0, 1, 2], RemoteError, "ValueError")
            assert await collect(far.stream(Plain())) == ([7], None)
            parts, error = await collect(far.stream(Asleep(), timeout=0.5))
            assert (parts, type(error)) == ([1], AskTimeout)
            await eventually_equal(lambda: streamer.ask(Events()), ["begun", "over", "woken"])
            with pytest.raises(BadMessage, match="Count is answered in parts"):
                await far.ask(Count(3))
            with pytest.raises(UnknownAgent):
                await anext(a.agent("nobody").stream(Count(3)))
            with pytest.raises(BadMessage, match="takes no"):
                await anext(far.stream({"type": "Nothing"}))

    run(main())


async def eventually_equal(ask, wanted):
    async with asyncio.timeout(20):
        while (found := await ask()) != wanted:  # noqa: ASYNC110 - the agent is in another process
            await asyncio.sleep(0.02)
    assert found == wanted


def test_an_agent_of_another_node_that_dies_in_mid_stream_ends_it(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, _, _):
            parts, error = await collect(a.agent("streamer").stream(Count(10, deadly=3)))
            assert parts == [0, 1, 2]
            assert (type(error), error.may_have_run) == (AgentDown, True)
            assert "it died, and has begun again" in error.message

    run(main())


def test_a_reader_of_another_node_that_leaves_stops_the_handler(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, _, streamer):
            far = a.agent("streamer")
            async for _ in far.stream(Asleep()):
                break
            await eventually_equal(lambda: streamer.ask(Events()), ["woken"])
            async for part in far.stream(Count(10**9)):
                if part == 2000:
                    break
            await eventually_equal(lambda: streamer.ask(Events()), ["woken", "begun", "over"])

    run(main())


def test_a_slow_reader_of_another_node_slows_the_handler(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b, _):
            slow = await b.spawn(Streamer, name="slow", concurrency=2)
            await eventually(lambda: all(row["nats"] == "connected" for row in b.children()))
            await eventually(lambda: any(peer["name"] == "slow" for peer in a.peers()))
            stream = a.agent("slow").stream(Count(5000))
            await anext(stream)
            assert await eventually_still(lambda: slow.ask(Produced())) == STREAM_WINDOW + 1  # one more waits at its yield
            assert len([part async for part in stream]) == 4999

    run(main())


def test_a_server_lost_in_mid_stream_is_an_ask_timeout(run, folder):
    async def main():
        async with two_nodes(folder) as (server, a, _, _):
            stream = a.agent("streamer").stream(Asleep(), timeout=1.0)
            assert await anext(stream) == 1
            server.kill()
            with pytest.raises(AskTimeout):
                await anext(stream)

    run(main())


def request(content, **metadata):
    fields = {
        "message_type": "request",
        "from_agent": "my-script",
        "to_agent": "streamer",
        "content": content,
        "metadata": {"stream": True, **metadata},
        "timestamp": "2026-01-02T03:04:05Z",
        "message_id": str(uuid.uuid4()),
        "in_reply_to": None,
        "priority": 3,
    }
    return json.dumps(fields).encode()


def test_a_plain_client_reads_a_stream_gives_credit_and_closes_it(run, folder):
    async def main():
        async with two_nodes(folder) as (server, _, _, streamer):
            client = await nats.connect(server.url, token=server.info.token)
            try:
                inbox = client.new_inbox()
                parts = await client.subscribe(inbox)

                async def following():
                    answer = json.loads((await parts.next_msg(timeout=10)).data)
                    return answer["message_type"], answer["content"], answer["metadata"].get("stream")

                await client.publish("agents.request.streamer", request({"type": "Count", "n": 300}), reply=inbox)
                kind, content, opening = await following()
                assert (kind, content, opening["window"]) == ("response", None, STREAM_WINDOW)
                assert await following() == ("response", 0, {"seq": 0, "cost": 1, **opening})
                for n in range(1, STREAM_WINDOW):
                    assert await following() == ("response", n, {"seq": n, "cost": 1})
                with pytest.raises(nats.errors.TimeoutError):
                    await parts.next_msg(timeout=0.1)
                await client.publish(opening["control"], b"nonsense")
                await client.publish(opening["control"], b'{"credit": 100}')
                for n in range(STREAM_WINDOW, 300):
                    assert (await following())[1] == n
                assert await following() == ("response", None, {"end": True, "seq": 300})

                await client.publish("agents.request.streamer", request({"type": "Count", "n": 9, "wrong": 1}), reply=inbox)
                assert [(await following())[:2] for _ in range(2)] == [("response", None), ("response", 0)]
                kind, content, _ = await following()
                assert (kind, content["type"]) == ("error", "ValueError")

                await client.publish("agents.request.streamer", request({"type": "Asleep"}), reply=inbox)
                control = (await following())[2]["control"]
                assert (await following())[1] == 1
                await client.publish(control, b'{"close": true}')
                await eventually_equal(lambda: streamer.ask(Events()), ["begun", "over", "begun", "over", "woken"])
            finally:
                await client.close()

    run(main())
