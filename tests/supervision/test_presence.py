"""The tables of a node's presence, against a real server; agents that come and go are rows here, not processes."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actorsys.bus import envelope, stamp
from actorsys.bus.base import Incoming
from actorsys.bus.nats import NatsBus
from actorsys.comms import translate
from actorsys.mailbox.letter import HOST, Frame
from actorsys.mailbox.traffic import Close, Open, Posted
from actorsys.names import replica
from actorsys.spec import AgentSpec, MailboxSpec
from actorsys.supervision.mail import Mail
from actorsys.supervision.member import Member
from actorsys.supervision.presence import Presence
from actorsys.testing.nats import require_server, run_server
from actorsys.testing.waiting import eventually

NAMES = 10_000


class Rows:
    """As much of a driver as presence looks at."""

    def __init__(self, mail: Mail) -> None:
        self.mail = mail
        self.members: dict[str, Member] = {}
        self.states: dict[str, Any] = {}
        self.core = SimpleNamespace(find=self.states.get)
        self.is_stopping = False
        self.on_change: Any = None

    def add(self, agent: str, mailbox: MailboxSpec = MailboxSpec()) -> str:
        name = replica(agent, 0)
        self.mail.handle(Open(name, mailbox, (agent, name), agent, *self.mail.restored(name, mailbox)))
        self.members[name] = Member(name, agent, AgentSpec(name=agent, type="x:X"))
        return name

    def say(self, agent: str, state: str, nats: str) -> None:
        name = replica(agent, 0)
        self.states[name] = SimpleNamespace(state=state)
        self.members[name].nats = nats
        self.on_change(agent)

    def remove(self, agent: str) -> None:
        name = replica(agent, 0)
        del self.members[name], self.states[name]
        self.mail.handle(Close(name, "over", forget=True))
        self.on_change(agent)


async def commands(do: str, arguments: dict[str, Any]) -> Any:
    raise AssertionError(do)


@pytest.mark.slow
def test_names_that_came_and_went_leave_nothing_behind(tmp_path: Path) -> None:
    require_server()

    async def main() -> None:
        async with run_server(tmp_path) as server:
            rows = Rows(Mail(commands, 2**20, tmp_path / "mail.sqlite"))
            presence = Presence(server.options(ping_timeout=5.0), rows, node="n", run="1")  # type: ignore[arg-type]
            await presence.start()
            await presence.bus.wait_connected(5)
            try:
                bus: Any = presence.bus
                before = len(bus._subscriptions), len(bus.client._subs), len(bus._attachments._known)
                for number in range(NAMES):
                    agent = f"agent{number}"
                    rows.add(agent)
                    rows.say(agent, "running", "connected")
                    rows.say(agent, "backoff", "off")  # it died: somebody stands in for it
                    rows.say(agent, "running", "connected" if number % 2 else "connecting")
                    rows.remove(agent)
                    if number % 50 == 0:
                        await eventually(lambda: len(presence._tasks) < 50)
                await eventually(lambda: not presence._tasks)
                assert (presence._present, presence._met, presence._stand_ins) == (set(), set(), {})
                assert (len(bus._subscriptions), len(bus.client._subs), len(bus._attachments._known)) == before
                assert len(bus._asks) == 0
                assert rows.mail.switchboard.boxes == {}
            finally:
                await presence.close()
                await rows.mail.close()

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize(("agents", "at_once"), [(1, 1), (7, 2), (60, 12)])
def test_each_agent_beats_once_in_an_interval_and_of_many_some_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, agents: int, at_once: int
) -> None:
    require_server()
    monkeypatch.setattr("actorsys.supervision.presence.BEAT", 0.5)
    monkeypatch.setattr("actorsys.supervision.presence.TURN", 0.1)

    async def main() -> None:
        async with run_server(tmp_path) as server, NatsBus(server.options()) as other:
            await other.wait_connected(5)
            beats: list[str] = []

            def heard(incoming: Incoming) -> None:
                read = envelope.decode(incoming.payload, limit=2**20)
                if read.message_type == "heartbeat":
                    beats.append(read.from_agent)

            await other.subscribe("agents.all", heard, max_messages=100_000)
            rows = Rows(Mail(commands, 2**20, tmp_path / "mail.sqlite"))
            presence = Presence(server.options(), rows, node="n", run="1")  # type: ignore[arg-type]
            await presence.start()
            await presence.bus.wait_connected(5)
            together: list[int] = []  # beats in each write
            client: Any = presence.bus.client
            write = client._transport.writelines

            def counted(lines: list[bytes]) -> None:
                together.append(b"".join(lines).count(b'"heartbeat"'))
                write(lines)

            client._transport.writelines = counted
            try:
                for number in range(agents):
                    rows.add(f"agent{number}")
                    rows.say(f"agent{number}", "running", "connected")
                await eventually(lambda: len(beats) >= 3 * agents)
                counts = [beats[: 3 * agents].count(f"agent{number}") for number in range(agents)]
                assert counts == [3] * agents
                assert {count for count in together if count} <= {at_once, agents % at_once or at_once}
                assert presence.list_peers() == []  # what it said itself is no news to it
            finally:
                await presence.close()
                await rows.mail.close()

    asyncio.run(main())


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["memory", "disk"])
def test_a_task_that_ends_with_its_node_is_completed_and_one_on_disk_goes_on_later(tmp_path: Path, durability: Any) -> None:
    require_server()

    async def main() -> None:
        async with run_server(tmp_path) as server, NatsBus(server.options()) as boss:
            await boss.wait_connected(5)
            heard: list[Incoming] = []
            await boss.subscribe("agents.direct.boss", heard.append)
            await boss.subscribe("answers", heard.append)
            rows = Rows(Mail(commands, 2**20, tmp_path / "mail.sqlite"))
            presence = Presence(server.options(), rows, node="n", run="1")  # type: ignore[arg-type]
            await presence.start()
            await presence.bus.wait_connected(5)
            try:
                name = rows.add("bee", MailboxSpec(durability=durability))
                task = envelope.message("boss", "bee", "work", stamp.fresh(), metadata={"notify": True})
                asked = envelope.request("boss", "bee", "question", stamp.fresh())
                told = envelope.message("boss", "bee", "nothing to say about", stamp.fresh())
                for read, kind, reply in ((task, "direct", ""), (told, "direct", ""), (asked, "request", "answers")):
                    letter = translate.letter(read, kind, reply, name, run="1", now=1)  # type: ignore[arg-type]
                    rows.mail.handle(Posted(HOST, Frame(letters=[letter])))
                await eventually(lambda: len(rows.mail.switchboard.boxes[name].held()) == 3)
            finally:
                await presence.close()
                await rows.mail.close()
            ended = [asked] if durability == "disk" else [asked, task]
            await eventually(lambda: len(heard) == len(ended))
            answers = [envelope.decode(each.payload, limit=2**20) for each in heard]
            assert {answer.in_reply_to for answer in answers} == {each.message_id for each in ended}
            assert {envelope.failure(answer).kind for answer in answers} == {"AgentDown"}

    asyncio.run(main())
