"""An agent that does what nobody expects."""

import asyncio

from actorsys import ActorError, Agent, Request, on


class Print(Request[None]):
    line: str


class Raise(Request[None]):
    pass


class SpawnOdd(Request[str]):
    pass


class Odd(Agent):
    def __init__(self, lingers: bool = False) -> None:
        self.lingers = lingers

    async def on_stop(self, reason: str) -> None:
        if self.lingers:
            await asyncio.Event().wait()

    @on
    async def print(self, msg: Print) -> None:
        print(msg.line, flush=True)
        if self.lingers:
            await self.stop()

    @on
    async def fail(self, msg: Raise) -> None:
        raise FileNotFoundError(
            "no file " + b"\\x80".decode("unicode_escape").encode("latin-1").decode("utf-8", "surrogateescape")
        )

    @on
    async def spawn_odd(self, msg: SpawnOdd) -> str:
        try:
            await self.spawn(Odd, name="other", args={"lingers": object()})
        except ActorError as error:
            return str(error)
        return "spawned"
