"""Agents for the tests of monitors, links and spawning."""

import asyncio
import time
from typing import Any

from actorsys import Agent, Event, Request, on
from actorsys.messages import Down
from actorsys.testing.children import Obedient


class Watch(Request[None]):
    """Call `monitor`, `demonitor`, `link` or `unlink` with that agent."""

    what: str
    agent: str


class Downs(Request[list[tuple[str, str]]]):
    """The notices that came: agent and reason."""


class Have(Request[str]):
    """Spawn an agent; its name, as its ref has it."""

    type: str
    name: str
    options: dict[str, Any] = {}


class Bye(Event):
    pass


class Watcher(Obedient):
    @on
    async def watch(self, msg: Watch) -> None:
        getattr(self, msg.what)(self.agent(msg.agent))

    async def on_notice(self, notice: Down) -> None:
        self.state["downs"] = [*self.state.get("downs", []), [notice.agent, notice.reason]]

    @on
    async def downs(self, msg: Downs) -> list[tuple[str, str]]:
        return self.state.get("downs", [])

    @on
    async def have(self, msg: Have) -> str:
        return (await self.spawn(msg.type, name=msg.name, **msg.options)).name


class Linked(Watcher):
    """Links itself to `to` at each start."""

    def __init__(self, to: str, **more: str) -> None:
        super().__init__(**more)
        self.to = to

    async def on_start(self) -> None:
        self.link(self.to)
        await super().on_start()


class BlocksLater(Agent):
    """Ready, then its loop stands still with no message in hand."""

    async def on_start(self) -> None:
        asyncio.get_running_loop().call_later(0.05, time.sleep, 600)
