"""The tables of a node's presence, against a real server; agents that come and go are rows here, not processes."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from actorsys.mailbox.traffic import Close, Open
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

    def add(self, agent: str) -> str:
        name = replica(agent, 0)
        self.mail.handle(Open(name, MailboxSpec(), (agent, name), agent))
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
