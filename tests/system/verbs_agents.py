"""Agents for the tests of handoffs, broadcasts, asks by capability, and asks that are cancelled."""

import asyncio
import contextlib
import os
from typing import Any

from actorsys import Agent, Event, Message, Request, UnknownAgent, Unreachable, on


class Write(Request[str]):
    topic: str


class Give(Request[str]):
    """Hand `topic` over to `to`; answered with the id."""

    to: str
    topic: str


class Heard(Request[list[Any]]):
    pass


class News(Event):
    text: str


class Shout(Request[str]):
    content: Any


class Nap(Request[str]):
    """Sleep; `far` has another agent sleep instead, `limit` ends the wait for it."""

    far: str = ""
    limit: float = 60.0


class Who(Request[str]):
    """Answered with the name."""


class Delegate(Request[str]):
    capability: str


class DieOnce(Event):
    """Hand `topic` over, then die, the first time."""

    to: str
    topic: str
    mark: str


class Hearing(Agent):
    """Keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    @on
    async def tell_what(self, msg: Heard) -> list[Any]:
        return self.heard

    @on
    async def name_yourself(self, msg: Who) -> str:
        return self.name


class Writer(Hearing):
    @on
    async def write(self, msg: Write) -> str:
        if msg.topic == "nothing":
            raise ValueError("about nothing")
        assert self.message is not None
        self.heard.append([msg.topic, self.message.metadata.get("tone"), self.message.priority])
        return f"on {msg.topic}"

    async def on_completed(self, message: Message) -> None:
        self.heard.append(message.metadata["notice"])


class Editor(Hearing):
    @on
    async def give(self, msg: Give) -> str:
        return await self.handoff(msg.to, Write(msg.topic), {"tone": "dry"})

    @on
    async def die_once(self, msg: DieOnce) -> None:
        await self.handoff(msg.to, Write(msg.topic))
        with contextlib.suppress(FileExistsError):
            os.close(os.open(msg.mark, os.O_CREAT | os.O_EXCL))
            os._exit(1)

    @on
    async def shout(self, msg: Shout) -> str:
        return await self.broadcast(News(msg.content["news"]) if isinstance(msg.content, dict) else msg.content)

    @on
    async def delegate(self, msg: Delegate) -> str:
        return await self.ask(Who(), capability=msg.capability, timeout=10)

    async def on_completed(self, message: Message) -> None:
        text = message.payload["message"] if message.metadata["outcome"] == "failed" else message.payload
        self.heard.append([message.sender, message.in_reply_to, message.metadata["outcome"], text])


class Listener(Hearing):
    """Takes news by its type, other broadcasts by the hook."""

    @on
    async def news(self, msg: News) -> None:
        self.heard.append(["news", msg.text])

    async def on_broadcast(self, message: Message) -> None:
        self.heard.append(["hook", message.payload])


class Plain(Hearing):
    """Has no hooks: `receive` gets everything."""

    async def receive(self, message: Message) -> None:
        self.heard.append(["receive", message.payload, message.metadata.get("outcome")])


class Sleeper(Hearing):
    @on
    async def nap(self, msg: Nap) -> str:
        if not msg.far:
            await asyncio.sleep(60)
            return "slept"
        try:
            async with asyncio.timeout(msg.limit):
                return await self.agent(msg.far).ask(Nap(), timeout=60)
        except TimeoutError:
            return "waited enough"


class Failing(Agent):
    @on
    async def name_yourself(self, msg: Who) -> str:
        raise ValueError("cannot")


class Early(Hearing):
    """Tries in `on_start` what is not possible yet."""

    async def on_start(self) -> None:
        for attempt in (
            self.agent("far").ask(Who()),
            self.agent("far").tell(News("")),
            self.handoff("far", 1),
            self.broadcast(1),
        ):
            try:
                await attempt
            except Unreachable as error:
                self.heard.append(str(error))
            except UnknownAgent:
                self.heard.append("unknown")
        assert self.agent("early").name == "early"
