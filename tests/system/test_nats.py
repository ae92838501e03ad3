"""Agents and plain NATS clients."""

import asyncio
import contextlib
import json
import os
import signal
import uuid

import nats
import psutil
import pytest
from nats.errors import NoRespondersError
from nats.errors import TimeoutError as NatsTimeout
from system_agents import Add, Counter, Pid, Plain, Total

from actorsys import Supervisor
from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import eventually, until


@pytest.fixture(autouse=True)
def server_needed():
    require_server()


def envelope(content, **changes):
    return {
        "message_type": "request",
        "from_agent": "tester",
        "to_agent": "counter",
        "content": content,
        "metadata": {},
        "timestamp": "2026-01-02T03:04:05Z",
        "message_id": str(uuid.uuid4()),
        "in_reply_to": None,
        "priority": 3,
        **changes,
    }


@contextlib.asynccontextmanager
async def client_of(sup):
    """A plain client of the node's embedded server, as another program of the same user finds it."""
    where = json.loads((sup.state_dir / "nats.json").read_text())
    client = await nats.connect(where["urls"], token=where["token"], max_reconnect_attempts=-1, reconnect_time_wait=0.05)
    try:
        yield client
    finally:
        await client.close()


async def request(client, content, *, subject="agents.request.counter", raw=None, timeout=20, **changes):
    """The answer to a request, asked again while nobody listens yet."""
    sent = envelope(content, **changes)
    data = raw if raw is not None else json.dumps(sent).encode()
    until_time = asyncio.get_running_loop().time() + timeout
    while True:
        try:
            answer = await client.request(subject, data, timeout=2)
            return sent, json.loads(answer.data)
        except (NoRespondersError, NatsTimeout, nats.errors.ConnectionClosedError, nats.errors.OutboundBufferLimitError):
            assert asyncio.get_running_loop().time() < until_time
            await asyncio.sleep(0.02)


def row(sup, name):
    return next(row for row in sup.children() if row["name"] == name)


async def connected(sup, *names):
    await eventually(lambda: all(row(sup, name)["nats"] == "connected" for name in names))


def test_a_plain_client_gets_the_documented_json(run_on_either):
    async def main():
        async with Supervisor(nats="embedded") as sup:
            counter = await sup.spawn(Counter, name="counter")
            await connected(sup, "counter")
            async with client_of(sup) as client:
                sent, answer = await request(client, {"type": "Add", "n": 2})
                assert set(answer) == set(envelope(None))
                assert (answer["message_type"], answer["content"]) == ("response", 2)
                assert (answer["from_agent"], answer["to_agent"]) == ("counter", "tester")
                assert answer["in_reply_to"] == sent["message_id"]
                assert uuid.UUID(answer["message_id"])
                assert answer["timestamp"].endswith("Z")
                assert await counter.ask(Total()) == 2

    run_on_either(main())


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"\xff\xff",
        b"[]",
        b"",
        b"null",
        b"[" * 10_000,
        json.dumps(envelope({"type": "Add", "n": 2}, priority=9)).encode(),
        json.dumps({key: value for key, value in envelope({}).items() if key != "message_id"}).encode(),
    ],
    ids=["cut", "no-utf8", "list", "empty", "null", "deep", "priority", "missing"],
)
def test_malformed_json_gets_an_error_reply_and_does_not_disturb_the_agent(run, raw):
    async def main():
        async with Supervisor(nats="embedded") as sup:
            counter = await sup.spawn(Counter, name="counter")
            pid = await counter.ask(Pid())
            await connected(sup, "counter")
            async with client_of(sup) as client:
                _, answer = await request(client, None, raw=raw)
                assert set(answer) == set(envelope(None))
                assert answer["message_type"] == "error"
                assert answer["from_agent"] == "counter"
                _, answer = await request(client, {"type": "Add", "n": 2})
                assert answer["content"] == 2
            assert await counter.ask(Pid()) == pid
            assert row(sup, "counter")["dead_letters"] == 0

    run(main())


def test_the_only_replica_of_an_agent_has_no_number_in_its_dead_letters(run):
    async def main():
        async with Supervisor(nats="embedded") as sup:
            await sup.spawn(Counter, name="counter")
            await connected(sup, "counter")
            async with client_of(sup) as client:
                sent = envelope({"type": "Raise", "text": "from far"}, message_type="message")
                await client.publish("agents.direct.counter", json.dumps(sent).encode())
                await eventually(lambda: row(sup, "counter")["dead_letters"] == 1)
            assert [letter.to for letter in sup.mail.switchboard.dead_letters] == ["counter"]

    run(main())


def test_content_that_does_not_fit_and_a_failing_handler_give_error_replies(run):
    async def main():
        async with Supervisor(nats="embedded") as sup:
            counter = await sup.spawn(Counter, name="counter")
            pid = await counter.ask(Pid())
            await connected(sup, "counter")
            async with client_of(sup) as client:
                for content, word in (
                    ({"type": "Add", "n": "two"}, "n"),
                    ({"type": "Nothing"}, "Nothing"),
                    ("hello", "takes no"),
                    ({"type": "Lose", "n": 5}, "5 is lost"),
                    ({"type": "Raise", "text": "from far"}, "from far"),
                ):
                    sent, answer = await request(client, content)
                    assert answer["message_type"] == "error"
                    assert word in json.dumps(answer["content"])
                    assert answer["in_reply_to"] == sent["message_id"]
            assert await counter.ask(Pid()) == pid
            assert await counter.ask(Total()) == 0

    run(main())


def test_other_content_goes_to_receive(run):
    async def main():
        async with Supervisor(nats="embedded") as sup:
            await sup.spawn(Plain, name="Plain-Bot")
            await connected(sup, "Plain-Bot")
            async with client_of(sup) as client:
                for content in ("hello", {"a": [1, None, "é"]}, 5, None, [True]):
                    _, answer = await request(client, content, subject="agents.request.plain_bot", to_agent="Plain-Bot")
                    assert answer["content"] == {"got": content, "from": "tester"}

    run(main())


def test_a_direct_message_is_told_and_its_custody_confirmed_when_asked_for(run):
    async def main():
        async with Supervisor(nats="embedded") as sup:
            counter = await sup.spawn(Counter, name="counter")
            await connected(sup, "counter")
            async with client_of(sup) as client:
                _, answer = await request(
                    client, {"type": "Add", "n": 2}, subject="agents.direct.counter", message_type="message"
                )
                assert answer["message_type"] == "response"
                await client.publish("agents.direct.counter", json.dumps(envelope({"type": "Add", "n": 3})).encode())
                await client.flush()
                await until_total(counter, 5)

    run(main())


async def until_total(counter, total):
    while await counter.ask(Total()) < total:  # noqa: ASYNC110  # the agent sets no event of ours
        await asyncio.sleep(0.005)


def test_one_hundred_requests_at_once_are_each_answered(run):
    async def main():
        async with Supervisor(nats="embedded") as sup:
            await sup.spawn(Counter, name="counter")
            await connected(sup, "counter")
            async with client_of(sup) as client:
                await request(client, {"type": "Total"})
                answers = await asyncio.gather(*(request(client, {"type": "Add", "n": 1}) for _ in range(100)))
                assert sorted(answer["content"] for _, answer in answers) == list(range(1, 101))

    run(main())


def test_a_request_survives_the_death_of_the_agent_that_held_it(run):
    async def main():
        async with Supervisor(nats="embedded") as sup:
            counter = await sup.spawn(Counter, name="counter", memory="sqlite")
            pid = await counter.ask(Pid())
            await connected(sup, "counter")
            async with client_of(sup) as client:
                sent = envelope({"type": "Add", "n": 2, "seconds": 0.5})
                asked = asyncio.ensure_future(client.request("agents.request.counter", json.dumps(sent).encode(), timeout=30))
                await eventually(lambda: row(sup, "counter")["in_flight"] == 1)
                os.kill(pid, signal.SIGKILL)
                answer = json.loads((await asked).data)
                assert (answer["content"], answer["in_reply_to"]) == (2, sent["message_id"])

    run(main())


def test_the_server_is_killed_and_local_work_goes_on_and_agents_answer_again(run):
    async def main():
        async with Supervisor(nats="embedded") as sup:
            counter = await sup.spawn(Counter, name="counter")
            await connected(sup, "counter")
            async with client_of(sup) as client:
                await request(client, {"type": "Add", "n": 1})
                server = psutil.Process(sup.nats.server_pid)
                server.suspend()
                server.kill()
                assert await counter.ask(Add(1)) == 2
                await eventually(lambda: sup.nats.server_pid not in (server.pid, None))
                _, answer = await request(client, {"type": "Add", "n": 1})
                assert answer["content"] >= 3
            await connected(sup, "counter")
            assert row(sup, "counter")["restarts"] == 0

    run(main())


def test_an_external_server_may_come_late_and_go_and_come_back(run, folder):
    async def main():
        async with run_server(folder / "nats") as server:
            url = server.url.replace("nats://", f"nats://{server.info.token}@")
            server.kill()
            async with Supervisor(nats=url) as sup:
                counter = await sup.spawn(Counter, name="counter")
                assert await counter.ask(Add(1)) == 1
                assert row(sup, "counter")["nats"] == "connecting"
                for _ in range(2):
                    await server.start()
                    await connected(sup, "counter")
                    client = await nats.connect(url)
                    try:
                        _, answer = await request(client, {"type": "Total"})
                        assert answer["content"] == 1
                    finally:
                        await client.close()
                    server.kill()
                    await eventually(lambda: row(sup, "counter")["nats"] == "connecting")
                    assert await counter.ask(Total()) == 1
                assert server.info.token not in " ".join(sup.nats_urls)

    run(main(), timeout=90)


def test_after_a_death_the_agent_answers_over_nats_again(run):
    async def main():
        async with Supervisor(nats="embedded") as sup:
            counter = await sup.spawn(Counter, name="counter", memory="sqlite")
            await connected(sup, "counter")
            async with client_of(sup) as client:
                await request(client, {"type": "Add", "n": 2})
                os.kill(await counter.ask(Pid()), signal.SIGKILL)
                _, answer = await request(client, {"type": "Add", "n": 2})
                assert answer["content"] == 4

    run(main())


def test_under_supervise_the_server_listens_on_loopback_only_and_is_gone_afterwards(node):
    node.write('[agents.counter]\ntype = "system_agents:Counter"\n')
    node.supervise()
    assert "NATS: nats://127.0.0.1:" in node.output
    node.wait_state("counter", nats="connected")
    servers = [child for child in psutil.Process(node.process.pid).children(recursive=True) if "nats-server" in child.name()]
    (server,) = servers
    listening = {end.laddr.ip for end in server.net_connections() if end.status == "LISTEN"}
    assert listening == {"127.0.0.1"}
    secrets = node.folder / ".actorsys" / "nats.json"
    assert secrets.stat().st_mode & 0o777 == 0o600
    token = json.loads(secrets.read_text())["token"]
    assert token not in node.output
    assert token not in " ".join(server.cmdline())
    assert node.interrupt() == 0
    until(lambda: not server.is_running())
    assert not secrets.exists()


def test_without_nats_everything_local_works_and_ps_shows_it(node):
    node.env["NATS_URL"] = "nats://127.0.0.1:1"
    node.write('[agents.counter]\ntype = "system_agents:Counter"\n')
    node.supervise()
    assert node.call("ask", "counter", "Add", "n=2") == "2\n"
    assert node.ps("counter")["nats"] == "connecting"
    node.end()
    node.env["NATS_URL"] = ""
    node.write('[nats]\nmode = "off"\n[agents.counter]\ntype = "system_agents:Counter"\n')
    node.supervise()
    assert node.call("ask", "counter", "Add", "n=2") == "2\n"
    assert node.ps("counter")["nats"] == "off"
