"""Agents of two nodes that share one NATS server."""

import asyncio
import contextlib
import json
import os
import signal
import uuid

import nats
import pytest
from system_agents import (
    Add,
    Counter,
    Find,
    Finder,
    Friend,
    Lose,
    Meet,
    Meeting,
    Pid,
    Plain,
    Raise,
    Relay,
    Round,
    SlowStart,
    Total,
)

from actorsys import (
    AgentDown,
    AskCycle,
    AskTimeout,
    BadMessage,
    MailboxFull,
    RemoteError,
    Supervisor,
    UnknownAgent,
)
from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import eventually


@pytest.fixture(autouse=True)
def server_needed():
    require_server()


def url_of(server):
    return server.url.replace("nats://", f"nats://{server.info.token}@")


@contextlib.asynccontextmanager
async def two_nodes(folder):
    """Server, and two nodes "a" and "b" that are connected to it."""
    async with (
        run_server(folder / "nats") as server,
        Supervisor(nats=url_of(server), name="a") as a,
        Supervisor(nats=url_of(server), name="b") as b,
    ):
        await eventually(lambda: a.presence.bus.is_connected and b.presence.bus.is_connected)
        yield server, a, b


def row(sup, name):
    return next(row for row in sup.children() if row["name"] == name)


async def connected(sup, *names):
    await eventually(lambda: all(row(sup, name)["nats"] == "connected" for name in names))


async def there(sup, name, status="running"):
    """Return when a node has heard of an agent of another one."""
    await eventually(lambda: any(peer["name"] == name and peer["status"] == status for peer in sup.peers()))


async def spawned(sup, cls, name, **options):
    ref = await sup.spawn(cls, name=name, **options)
    await connected(sup, name)
    return ref


def envelope(content, **changes):
    return {
        "message_type": "request",
        "from_agent": "tester",
        "to_agent": None,
        "content": content,
        "metadata": {},
        "timestamp": "2026-01-02T03:04:05Z",
        "message_id": str(uuid.uuid4()),
        "in_reply_to": None,
        "priority": 3,
        **changes,
    }


def test_agents_ask_and_tell_each_other_by_name_across_nodes(run_on_either, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            counter = await spawned(b, Counter, "counter")
            friend = await spawned(a, Friend, "friend")
            assert await friend.ask(Relay("counter", 5)) == 5
            assert await counter.ask(Total()) == 10

    run_on_either(main())


def test_the_host_reaches_agents_of_the_other_node(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            counter = await spawned(b, Counter, "counter")
            far = a.agent("counter")
            assert await far.ask(Add(2)) == 2
            await far.tell(Add(3))  # accepted when this returns: in custody over there
            assert await counter.ask(Total()) == 5
            assert await far.ask({"type": "Add", "n": 1}) == 6
            typed = {"name": "counter", "type": "Add", "payload": {"n": "4"}, "lenient": True}  # as `actorsys ask` says it
            assert await a.mail.outbox.command("ask", typed) == 10
            await a.mail.outbox.command("tell", typed)
            assert await counter.ask(Total()) == 14

    run(main())


def test_an_error_comes_back_with_type_and_traceback(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            await spawned(b, Counter, "counter")
            with pytest.raises(RemoteError, match="5 is lost") as caught:
                await a.agent("counter").ask(Lose(5))
            assert caught.value.type == "ValueError"
            assert "system_agents.py" in caught.value.traceback
            with pytest.raises(BadMessage, match="takes no"):
                await a.agent("counter").ask(Meet(2))
            assert await a.agent("counter").ask(Total()) == 0

    run(main())


def test_a_name_that_nobody_has_is_unknown_at_once_and_the_nearest_is_named(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            await spawned(b, Counter, "counter")
            friend = await spawned(a, Friend, "friend")
            await there(a, "counter")
            for ask in (a.agent("countr").ask(Total()), friend.ask(Relay("countr", 1)), a.agent("countr").tell(Add(1))):
                with pytest.raises(UnknownAgent, match="'counter'"):
                    await ask
            with pytest.raises(UnknownAgent, match="a name is"):
                await a.agent("no name").ask(Total())

    run(main())


def test_an_ask_that_is_not_answered_in_time_and_a_deadline_that_travels(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            counter = await spawned(b, Counter, "counter")
            slow = asyncio.ensure_future(a.agent("counter").ask(Add(1, seconds=0.5), timeout=20))
            await eventually(lambda: row(b, "counter")["in_flight"] == 1)
            with pytest.raises(AskTimeout):
                await a.agent("counter").ask(Add(10), timeout=0.1)
            assert await slow == 1
            assert await counter.ask(Total()) == 1  # the late one never ran

    run(main())


def test_a_cycle_across_nodes_is_found(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            one = await spawned(a, Friend, "one")
            await spawned(b, Friend, "two")
            await spawned(b, Friend, "three")
            with pytest.raises((AskCycle, RemoteError), match="one -> two -> three -> one"):
                await one.ask(Round(["two", "three", "one"]), timeout=20)
            assert await one.ask(Round(["two", "three"])) == "three"
            assert row(a, "one")["dead_letters"] == 0

    run(main())


def test_an_agent_that_moves_is_found_again(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            await spawned(a, Counter, "counter")
            friend = await spawned(a, Friend, "friend")
            assert await friend.ask(Relay("counter", 1)) == 1
            await a.delete("counter")
            await spawned(b, Counter, "counter")
            assert await friend.ask(Relay("counter", 5)) == 5

    run(main())


def test_a_full_mailbox_over_there_says_so(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            await spawned(b, Meeting, "meeting", mailbox={"size": 2, "overflow": "reject"})
            for _ in range(2):
                await a.agent("meeting").tell(Meet(9))
            await eventually(lambda: row(b, "meeting")["mailbox"] == 2)
            with pytest.raises(MailboxFull):
                await a.agent("meeting").tell(Meet(9))

    run(main())


def test_an_ask_waits_while_the_agent_over_there_restarts(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            counter = await spawned(b, Counter, "counter", memory="sqlite")
            await there(a, "counter")
            for n in range(5):
                os.kill(await counter.ask(Pid()), signal.SIGKILL)
                await eventually(
                    lambda: row(b, "counter")["nats"] != "connected"
                )  # before, a request may die with its connection
                assert await a.agent("counter").ask(Add(1), timeout=20) == n + 1
            assert not list(b.mail.switchboard.dead_letters)

    run(main())


def test_a_request_that_kills_ends_with_an_error(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            await spawned(b, Counter, "counter", restart={"max_restarts": 50})
            with pytest.raises(AgentDown, match="SIGKILL") as caught:
                await a.agent("counter").ask({"type": "Die"}, timeout=20)
            assert caught.value.may_have_run
            assert [dead.deliveries for dead in b.mail.switchboard.dead_letters] == [3]

    run(main())


def test_requests_of_an_agent_that_fails_for_good_end_with_an_error(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            counter = await spawned(b, Counter, "counter", restart={"max_restarts": 0})
            asks = [asyncio.ensure_future(a.agent("counter").ask(Add(1, seconds=20), timeout=25)) for _ in range(3)]
            await eventually(lambda: row(b, "counter")["mailbox"] == 3)
            os.kill(row(b, "counter")["pid"], signal.SIGKILL)
            for ask in asks:
                with pytest.raises(AgentDown):
                    await ask
            await eventually(lambda: not a.peers())
            with pytest.raises((UnknownAgent, AgentDown)):  # the supervisor may just be about to leave its subjects
                await a.agent("counter").ask(Add(1))
            with pytest.raises(AgentDown):
                await counter.ask(Add(1))

    run(main())


def test_a_tell_whose_handler_raises_is_a_dead_letter_and_the_agent_lives_on(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            counter = await spawned(b, Counter, "counter")
            pid = await counter.ask(Pid())
            await a.agent("counter").tell(Raise("from far"))
            await eventually(lambda: row(b, "counter")["dead_letters"] == 1)
            assert await counter.ask(Pid()) == pid

    run(main())


def test_agents_are_announced_and_found_by_what_they_can(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            await spawned(b, Counter, "counter", capabilities=["count"], description="counts")
            await there(a, "counter")
            (peer,) = a.peers()
            assert (peer["node"], peer["capabilities"], peer["description"]) == ("b", ("count",), "counts")
            finder = await spawned(a, Finder, "finder")
            assert await finder.ask(Find("count")) == ["counter"]
            assert await finder.ask(Find("sing")) == []
            assert await b.mail.outbox.command("find", {"capability": "count"}) == ["counter"]
            await b.agent("counter").stop()
            await eventually(lambda: not a.peers())
            await b.mail.outbox.command("start", {"names": ["counter"]})
            await there(a, "counter")

    run(main())


def test_heartbeats_go_on_and_say_how_an_agent_is(run, folder, monkeypatch):
    monkeypatch.setattr("actorsys.supervision.presence.BEAT", 0.1)

    async def main():
        async with two_nodes(folder) as (server, a, _):
            gate = folder / "gate"
            client = await nats.connect(url_of(server))
            try:
                everything = await client.subscribe("agents.all")
                slow = await spawned(a, SlowStart, "slow", args={"path": str(gate)}, memory="sqlite", capabilities=["wait"])

                async def beat(status):
                    while True:
                        said = json.loads((await everything.next_msg(10)).data)
                        if said["message_type"] == "heartbeat" and said["content"]["status"] == status:
                            return said

                said = await beat("running")
                assert (said["from_agent"], said["to_agent"], said["priority"]) == ("slow", None, 5)
                assert {"node": "a", "capabilities": ["wait"]}.items() <= said["content"].items()
                os.kill(await slow.ask(Pid()), signal.SIGKILL)
                await beat("restarting")
                gate.touch()
                await beat("running")
            finally:
                await client.close()

    run(main())


def test_a_node_that_comes_later_hears_of_those_before_it(run, folder):
    async def main():
        async with two_nodes(folder) as (server, a, b):
            await spawned(a, Counter, "counter")
            await spawned(b, Counter, "other")
            async with Supervisor(nats=url_of(server), name="c") as c:
                await eventually(lambda: c.presence.bus.is_connected)
                await spawned(c, Counter, "third")
                await eventually(lambda: {peer["name"] for peer in c.peers()} == {"counter", "other"})
                await there(a, "third")
            await eventually(lambda: {peer["name"] for peer in a.peers()} == {"other"})

    run(main())


def test_a_broadcast_reaches_every_agent_but_its_sender(run, folder):
    async def main():
        async with two_nodes(folder) as (server, a, b):
            refs = [await spawned(sup, Counter, name) for sup, name in ((a, "one"), (a, "two"), (b, "three"))]
            await spawned(b, Meeting, "deaf")  # takes no such message: no reason for a dead letter
            client = await nats.connect(url_of(server))
            try:
                said = envelope({"type": "Add", "n": 7}, message_type="broadcast", from_agent="two")
                await client.publish("agents.all", json.dumps(said).encode())
                await client.flush()
                while [await ref.ask(Total()) for ref in refs] != [7, 0, 7]:  # noqa: ASYNC110
                    await asyncio.sleep(0.005)
                await client.publish("agents.all", b"no envelope")
                await client.flush()
            finally:
                await client.close()
            assert sum(row(sup, name)["dead_letters"] for sup, name in ((a, "one"), (a, "two"), (b, "three"), (b, "deaf"))) == 0

    run(main())


def test_a_broadcast_that_finds_a_full_mailbox_is_dropped_and_counted(run, folder):
    async def main():
        async with two_nodes(folder) as (server, _, b):
            meeting = await spawned(b, Meeting, "meeting", mailbox={"size": 2})
            for _ in range(2):
                await meeting.tell(Meet(9))
            client = await nats.connect(url_of(server))
            try:
                await client.publish("agents.all", json.dumps(envelope("hello", message_type="broadcast")).encode())
                await client.flush()
                await eventually(lambda: b.presence.dropped == 1)
            finally:
                await client.close()

    run(main())


def test_an_agent_is_killed_while_a_plain_client_sends_it_a_thousand_requests(run, folder):
    async def main():
        async with two_nodes(folder) as (server, _, b):
            counter = await spawned(b, Counter, "counter", restart={"max_restarts": 1000})
            client = await nats.connect(url_of(server))
            outcomes = {"answered": 0, "error": 0, "nobody": 0, "late": 0}  # late: it was on the connection that died

            async def request(number):
                data = json.dumps(envelope({"type": "Add", "n": 1}, priority=3)).encode()
                try:
                    answer = json.loads((await client.request("agents.request.counter", data, timeout=8)).data)
                    outcomes["answered" if answer["message_type"] == "response" else "error"] += 1
                except nats.errors.NoRespondersError:
                    outcomes["nobody"] += 1
                except nats.errors.TimeoutError:
                    outcomes["late"] += 1

            async def kill():
                for _ in range(3):
                    os.kill(await counter.ask(Pid()), signal.SIGKILL)
                    await asyncio.sleep(0.05)

            try:
                killing = asyncio.ensure_future(kill())
                for start in range(0, 1000, 50):
                    await asyncio.gather(*(request(start + n) for n in range(50)))
                await killing
            finally:
                await client.close()
            assert sum(outcomes.values()) == 1000
            assert outcomes["answered"] >= 840
            assert outcomes["error"] == 0
            await eventually(lambda: row(b, "counter")["mailbox"] == 0)
            assert row(b, "counter")["handled"] == outcomes["answered"] + 3  # whatever was in custody was answered

    run(main(), timeout=90)


def test_asks_of_another_node_are_each_handled_once_while_the_agent_is_killed(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            counter = await spawned(b, Counter, "counter", memory="sqlite", restart={"max_restarts": 1000})
            await there(a, "counter")
            far = a.agent("counter")

            async def kill():
                for _ in range(4):
                    os.kill(await counter.ask(Pid()), signal.SIGKILL)

            killing = asyncio.ensure_future(kill())
            answers = []
            while not killing.done() or len(answers) < 200:
                answers += await asyncio.gather(*(far.ask(Add(1), timeout=20) for _ in range(20)))
                await far.tell(Add(0))
            await killing
            assert sorted(answers) == list(range(1, len(answers) + 1))
            assert row(b, "counter")["restarts"] == 4

    run(main(), timeout=90)


def test_a_killed_supervisor_leaves_agents_that_are_down_or_unknown_at_once(run, folder, node):
    async def main():
        async with run_server(folder / "nats") as server:
            node.env["NATS_URL"] = url_of(server)
            node.write('[supervisor]\nname = "b"\n[agents.counter]\ntype = "system_agents:Counter"\n')
            process = await asyncio.to_thread(node.supervise)
            async with Supervisor(nats=url_of(server), name="a") as a:
                friend = await spawned(a, Friend, "friend")
                await there(a, "counter")
                assert await friend.ask(Relay("counter", 1)) == 1
                process.kill()
                process.wait()
                began = asyncio.get_running_loop().time()
                with pytest.raises((AgentDown, UnknownAgent)):
                    await friend.ask(Relay("counter", 1))
                with pytest.raises((AgentDown, UnknownAgent)):
                    await a.agent("counter").tell(Add(1))
                assert asyncio.get_running_loop().time() - began < 4.0

    run(main(), timeout=90)


def test_the_server_is_killed_under_load_and_nobody_restarts(run, folder):
    async def main():
        async with two_nodes(folder) as (server, a, b):
            counter = await spawned(b, Counter, "counter")
            friend = await spawned(a, Friend, "friend")
            local = await spawned(a, Counter, "local")
            far, done = a.agent("counter"), asyncio.Event()
            accepted = unsure = asked = 0

            async def load():
                nonlocal accepted, unsure
                while not done.is_set():
                    try:
                        await far.ask(Add(1), timeout=3)
                        accepted += 1
                    except (AskTimeout, UnknownAgent, AgentDown, ConnectionError):
                        unsure += 1
                    await asyncio.sleep(0)

            async def work():
                nonlocal asked
                while not done.is_set():
                    await local.ask(Add(1), timeout=2)
                    asked += 1

            tasks = [asyncio.ensure_future(load()) for _ in range(8)] + [asyncio.ensure_future(work())]
            for _ in range(2):
                before = accepted
                await eventually(lambda before=before: accepted > before + 50)
                server.kill()
                before = asked
                await eventually(lambda before=before: asked > before + 50)
                await server.start()
                began = asyncio.get_running_loop().time()
                before = accepted
                await eventually(lambda before=before: accepted > before)
                assert asyncio.get_running_loop().time() - began < 4.0  # measured: 0.1 to 1.0
            done.set()
            await asyncio.gather(*tasks)
            total = await counter.ask(Total())
            assert accepted <= total <= accepted + unsure  # none handled twice
            assert await friend.ask(Relay("counter", 0)) == total
            assert [row(sup, name)["restarts"] for sup, name in ((a, "friend"), (a, "local"), (b, "counter"))] == [0, 0, 0]

    run(main(), timeout=90)


def test_a_direct_message_is_followed_by_a_completion_when_its_sender_wants_one(run, folder):
    async def main():
        async with two_nodes(folder) as (server, _, b):
            await spawned(b, Counter, "counter")
            client = await nats.connect(url_of(server))
            try:
                notices = await client.subscribe("agents.direct.tester")
                for content, kind in (({"type": "Add", "n": 2}, "response"), ({"type": "Lose", "n": 2}, "error")):
                    sent = envelope(content, message_type="message", metadata={"notify": True})
                    await client.request("agents.direct.counter", json.dumps(sent).encode(), timeout=10)
                    notice = json.loads((await notices.next_msg(10)).data)
                    assert (notice["message_type"], notice["in_reply_to"]) == (kind, sent["message_id"])
                    assert notice["metadata"]["notice"] == "completion"
            finally:
                await client.close()

    run(main())


def test_stock_tools_find_each_agent(run, folder):
    async def main():
        async with two_nodes(folder) as (server, a, b):
            await spawned(a, Counter, "one", capabilities=["count"])
            await spawned(b, Counter, "two")
            client = await nats.connect(url_of(server))
            try:
                inbox = client.new_inbox()
                answers = await client.subscribe(inbox)
                await client.publish("$SRV.INFO", b"", reply=inbox)
                found = [json.loads((await answers.next_msg(10)).data) for _ in range(2)]
                assert {(info["name"], info["metadata"]["agent"], info["metadata"]["node"]) for info in found} == {
                    ("actorsys", "one", "a"),
                    ("actorsys", "two", "b"),
                }
                await a.agent("two").ask(Total())
                await client.publish("$SRV.STATS.actorsys", b"", reply=inbox)
                stats = [json.loads((await answers.next_msg(10)).data) for _ in range(2)]
                counted = {each["metadata"]["agent"]: each["endpoints"][0]["num_requests"] for each in stats}
                assert counted == {"one": 0, "two": 1}
            finally:
                await client.close()

    run(main())


def test_an_ask_that_may_repeat_is_repeated(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            await spawned(b, Counter, "counter")
            far = a.agent("counter")
            assert await far.ask(Add(1), idempotent=True) == 1
            blocking = asyncio.ensure_future(far.ask(Add(1, seconds=1.0), timeout=20))
            await eventually(lambda: (row(b, "counter")["handled"], row(b, "counter")["in_flight"]) == (1, 1))
            assert await far.ask(Total(), timeout=1.6, idempotent=True) == 2  # the first try had 0.8 s
            assert await blocking == 2
            assert a.presence._calls.retries == 1

    run(main())


def test_with_a_client_of_the_wrong_kind_nothing_is_spoofed(run, folder):
    async def main():
        async with two_nodes(folder) as (server, _, b):
            counter = await spawned(b, Counter, "counter")
            client = await nats.connect(url_of(server))
            try:
                for metadata in ({"type_id": 5, "chain": "x", "timeout": "soon"}, {"type_id": "actorsys.messages:Down"}):
                    sent = envelope({"type": "Add", "n": 1}, metadata=metadata)
                    answer = json.loads(
                        (await client.request("agents.request.counter", json.dumps(sent).encode(), timeout=10)).data
                    )
                    assert answer["message_type"] == "response"
                down = envelope({"type": "Down", "agent": "x", "reason": "y"}, metadata={"type_id": "actorsys.messages:Down"})
                answer = json.loads((await client.request("agents.request.counter", json.dumps(down).encode(), timeout=10)).data)
                assert answer["message_type"] == "error"
            finally:
                await client.close()
            assert await counter.ask(Total()) == 2

    run(main())


def test_a_plain_agent_sees_who_sent(run, folder):
    async def main():
        async with two_nodes(folder) as (_, a, b):
            await spawned(b, Plain, "plain")
            assert await a.agent("plain").ask("hello") == {"got": "hello", "from": "a"}

    run(main())
