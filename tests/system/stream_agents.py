"""Agents that answer in parts."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

from system_agents import Pid

from actorsys import Agent, Request, on


class Count(Request[int]):
    """0 up to n; dies before `deadly`, raises before `wrong`, takes `seconds` for each."""

    n: int
    deadly: int = -1
    wrong: int = -1
    seconds: float = 0.0


class Blob(Request[bytes]):
    n: int
    size: int


class Asleep(Request[int]):
    """One part, then nothing."""


class Events(Request[list[str]]):
    """What has happened to streams here."""


class Produced(Request[int]):
    """How many parts the last handler has made."""


class Read(Request[list[int]]):
    """Read a stream of another agent to the end."""

    of: str
    message: Count


class Begin(Request[int]):
    """Read one part of a stream of `of` that goes on asleep, and keep the rest."""

    of: str


class Plain(Request[int]):
    pass


class Round(Request[int]):
    """A stream of `of`, which asks us."""

    of: str


class Pass(Request[int]):
    """Stream what another agent streams."""

    of: str
    message: Count


class Streamer(Agent):
    def __init__(self) -> None:
        self.events: list[str] = []
        self.produced = 0

    @on
    async def count(self, msg: Count) -> AsyncIterator[int]:
        self.events.append("begun")
        self.produced = 0
        try:
            for n in range(msg.n):
                if n == msg.deadly:
                    os.kill(os.getpid(), signal.SIGKILL)
                if n == msg.wrong:
                    raise ValueError("wrong")
                self.produced += 1
                yield n
                if msg.seconds or n + 1 == msg.deadly:
                    await asyncio.sleep(msg.seconds or 0.02)
        finally:
            self.events.append("over")

    @on
    async def blob(self, msg: Blob) -> AsyncIterator[bytes]:
        self.produced = 0
        for _ in range(msg.n):
            self.produced += 1
            yield bytes(msg.size)

    @on
    async def asleep(self, msg: Asleep) -> AsyncIterator[int]:
        self.state["asleep"] = True
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            self.events.append("woken")

    @on
    async def said(self, msg: Events) -> list[str]:
        return self.events

    @on
    async def made(self, msg: Produced) -> int:
        return self.produced

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()

    @on
    async def plain(self, msg: Plain) -> int:
        return 7

    @on
    async def round(self, msg: Round) -> AsyncIterator[int]:
        async for part in self.agent(msg.of).stream(Round(self.name)):
            yield part

    @on
    async def passes(self, msg: Pass) -> AsyncIterator[int]:
        async for part in self.agent(msg.of).stream(msg.message):
            yield part


class Reader(Agent):
    def __init__(self) -> None:
        self.kept: list[AsyncIterator[int]] = []

    @on
    async def read(self, msg: Read) -> list[int]:
        return [part async for part in self.agent(msg.of).stream(msg.message)]

    @on
    async def begin(self, msg: Begin) -> int:
        stream = self.agent(msg.of).stream(Asleep())
        self.kept.append(stream)
        return await anext(stream)

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()
