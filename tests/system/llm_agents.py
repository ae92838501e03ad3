"""Agents that call a model."""

import asyncio
import sys
from collections.abc import AsyncIterator

from actorsys import Agent, Event, Request, on


class Flow(Request[list[str]]):
    """A workflow of that many calls, one after the other."""

    steps: int = 5


class Beside(Request[list[str]]):
    """Calls that are made at once."""

    names: list[str]


class Say(Request[str]):
    text: str
    timeout: float | None = None
    model: str | None = None


class Note(Event):
    text: str
    timeout: float | None = None
    model: str | None = None


class Tokens(Request[list[str]]):
    text: str


class Tell(Request[str]):
    text: str


class Loaded(Request[list[str]]):
    """Which of these modules its process has."""

    names: list[str]


class Thinker(Agent):
    @on
    async def loaded(self, msg: Loaded) -> list[str]:
        return [name for name in msg.names if name in sys.modules]

    @on
    async def tell(self, msg: Tell) -> AsyncIterator[str]:
        async for piece in self.llm.stream(msg.text):
            yield piece

    @on
    async def flow(self, msg: Flow) -> list[str]:
        return [(await self.llm.complete(f"step {number}")).text for number in range(1, msg.steps + 1)]

    @on
    async def beside(self, msg: Beside) -> list[str]:
        return [answer.text for answer in await asyncio.gather(*(self.llm.complete(name) for name in msg.names))]

    @on
    async def say(self, msg: Say) -> str:
        return (await self.llm.complete(msg.text, timeout=msg.timeout, model=msg.model)).text

    @on
    async def note(self, msg: Note) -> None:
        self.state["note"] = msg.text
        await self.llm.complete(msg.text, timeout=msg.timeout, model=msg.model)

    @on
    async def tokens(self, msg: Tokens) -> list[str]:
        stream = self.llm.stream(msg.text)
        return [piece async for piece in stream]
