"""A program that knows nothing but nats-py and the page on the wire format, beside real agents and a real server."""

import asyncio
import json
import uuid
from contextlib import asynccontextmanager
from typing import Any

import nats
import pytest
from nats.errors import NoRespondersError

from actorsys.comms import AgentComms, NatsConfig

pytestmark = pytest.mark.slow


class Writer(AgentComms):
    def __init__(self, name: str = "Fact-Writer") -> None:
        self.name = name
        self.done: list[Any] = []
        self.notices: asyncio.Queue[Any] = asyncio.Queue()
        super().__init__()

    def run(self, message: Any) -> Any:
        return {"asked": message}

    def agentic_run(self, message: Any) -> Any:
        self.done.append(message)
        if message == "nonsense":
            raise ValueError("not that")
        return f"wrote {message}"

    async def on_completed(self, message: Any) -> None:
        self.notices.put_nowait(message)


def envelope(message_type: str, content: Any, **changes: Any) -> dict[str, Any]:
    return {
        "message_type": message_type,
        "from_agent": "plain",
        "to_agent": "Fact-Writer",
        "content": content,
        "metadata": {},
        "timestamp": "2026-01-02T03:04:05Z",
        "message_id": str(uuid.uuid4()),
        "in_reply_to": None,
        "priority": 3,
        **changes,
    }


class Inbox:
    """A plain subscription whose messages are read one after the other."""

    def __init__(self, subscription: Any) -> None:
        self._subscription = subscription

    async def next(self) -> dict[str, Any]:
        return json.loads((await self._subscription.next_msg(timeout=20)).data)  # type: ignore[no-any-return]

    async def until(self, **wanted: Any) -> dict[str, Any]:
        while True:
            read = await self.next()
            if all(read.get(key) == value for key, value in wanted.items()):
                return read


@asynccontextmanager
async def together(nats_server: Any, **config: Any) -> Any:
    """A writer on a server, and a plain client of that."""
    async with nats_server(token="t") as server:
        url = server.url.replace("://", "://t@")
        client = await nats.connect(server.url, token="t")
        writer = Writer()
        try:
            assert await writer.connect_nats(config=NatsConfig(url, **config), capabilities=["write"], description="writes")
            yield writer, client
        finally:
            await writer.disconnect_nats()
            await client.close()


async def listen(client: Any, subject: str) -> Inbox:
    inbox = Inbox(await client.subscribe(subject))
    for _ in range(2):  # nats-py's first PING overtakes the subscription
        await client.flush()
    return inbox


async def ask(client: Any, subject: str, sent: Any) -> dict[str, Any]:
    data = sent if isinstance(sent, bytes) else json.dumps(sent).encode()
    return json.loads((await client.request(subject, data, timeout=20)).data)  # type: ignore[no-any-return]


def test_it_asks_and_is_answered(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with together(nats_server) as (_, client):
            sent = envelope("request", [1, {"x": None}], priority=2)
            answer = await ask(client, "agents.request.fact_writer", sent)
            assert set(answer) == set(sent)
            assert (answer["message_type"], answer["content"]) == ("response", {"asked": [1, {"x": None}]})
            assert (answer["from_agent"], answer["to_agent"]) == ("Fact-Writer", "plain")
            assert (answer["in_reply_to"], answer["priority"]) == (sent["message_id"], 2)
            with pytest.raises(NoRespondersError):
                await ask(client, "agents.request.nobody", sent)

    run(main)


def test_it_tells_and_hears_that_it_is_done(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with together(nats_server) as (writer, client):
            mine = await listen(client, "agents.direct.plain")
            sent = envelope("message", "a page", metadata={"notify": True})
            confirmed = await ask(client, "agents.direct.fact_writer", sent)
            assert (confirmed["message_type"], confirmed["content"]) == ("response", None)
            completion = await mine.next()
            assert (completion["message_type"], completion["content"]) == ("response", "wrote a page")
            assert completion["in_reply_to"] == sent["message_id"]
            assert completion["metadata"] == {"notice": "completion"}
            assert writer.done == ["a page"]

    run(main)


def test_it_takes_a_handoff_completes_it_and_is_acknowledged(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with together(nats_server, confirm_timeout=0.1) as (writer, client):
            records, mine = await listen(client, "agents.handoff.*.to.*"), await listen(client, "agents.direct.plain")
            sent = await writer.handoff_to_agent(to_agent="plain", content={"topic": "bees"})
            record, task = await records.next(), await mine.next()
            assert record == task
            assert (task["message_type"], task["priority"], task["message_id"]) == ("handoff", 1, sent)
            done = envelope("response", "done", in_reply_to=sent, metadata={"notice": "completion"})
            await client.publish("agents.direct.fact_writer", json.dumps(done).encode())
            acknowledgement = await mine.next()
            assert (acknowledgement["in_reply_to"], acknowledgement["content"]) == (done["message_id"], None)
            assert acknowledgement["metadata"] == {"notice": "acknowledgement"}
            message = await asyncio.wait_for(writer.notices.get(), 20)
            assert (message.in_reply_to, message.payload) == (sent, "done")
            assert writer.done == []

    run(main)


def test_it_hands_over_and_hears_of_completion_and_failure(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with together(nats_server) as (writer, client):
            mine = await listen(client, "agents.direct.plain")
            for content, outcome in (("a page", "response"), ("nonsense", "error")):
                sent = envelope("handoff", content, priority=1)
                await client.publish("agents.direct.fact_writer", json.dumps(sent).encode())
                done = await mine.next()
                assert (done["message_type"], done["in_reply_to"]) == (outcome, sent["message_id"])
                assert done["metadata"] == {"notice": "completion"}
            assert done["content"]["message"] == "not that"
            assert writer.done == ["a page", "nonsense"]

    run(main)


def test_it_lists_agents_and_sees_them_come_beat_broadcast_and_go(run: Any, nats_server: Any) -> None:
    async def main() -> None:
        async with together(nats_server, heartbeat_interval=0.05, node="here") as (writer, client):
            everyone = await listen(client, "agents.all")
            beat = await everyone.until(message_type="heartbeat")
            assert beat["content"]["status"] == "idle"
            assert beat["content"]["capabilities"] == ["write"]
            info = json.loads((await client.request("$SRV.INFO.actorsys", b"", timeout=20)).data)
            assert info["metadata"] == {"agent": "Fact-Writer", "node": "here", "capabilities": "write", "status": "idle"}
            assert [each["subject"] for each in info["endpoints"]] == ["agents.request.fact_writer", "agents.direct.fact_writer"]
            other = Writer("other")
            await other.connect_nats(config=NatsConfig(f"nats://t@{client.connected_url.netloc.rpartition('@')[2]}"))
            join = await everyone.until(message_type="announcement", from_agent="other")
            assert join["content"]["event"] == "join"
            await writer.broadcast_message(content="hello all")
            assert (await everyone.until(message_type="broadcast"))["content"] == "hello all"
            await other.disconnect_nats()
            assert (await everyone.until(message_type="announcement", from_agent="other"))["content"]["event"] == "leave"
            assert [peer.name for peer in await writer.discover_agents()] == []

    run(main)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"priority": 9}, "priority"),
        ({"message_type": "shout"}, "message_type"),
        ({"from_agent": "a b"}, "from_agent"),
        ({"timestamp": "today"}, "timestamp"),
        ({"message_id": "7"}, "message_id"),
        ({"metadata": []}, "metadata"),
    ],
)
@pytest.mark.parametrize("subject", ["agents.request.fact_writer", "agents.direct.fact_writer"])
def test_it_is_told_which_field_of_its_message_is_wrong(
    run: Any, nats_server: Any, subject: str, changes: dict[str, Any], field: str
) -> None:
    async def main() -> None:
        async with together(nats_server) as (writer, client):
            sent = {**envelope("request", 1), **changes}
            answer = await ask(client, subject, sent)
            assert answer["message_type"] == "error"
            assert answer["content"]["kind"] == "BadMessage"
            assert answer["content"]["details"] == {"field": field}
            assert answer["in_reply_to"] == (None if field == "message_id" else sent["message_id"])
            assert (await ask(client, subject, b"\xff{"))["content"]["kind"] == "BadMessage"
            assert (await ask(client, subject, envelope("request", 1)))["message_type"] == "response"
            assert writer.is_on_nats

    run(main)
