"""An agent that large messages go to and come from."""

import os

from actorsys import Agent, Request, on


class Blob(Request[bytes]):
    data: bytes


class Pid(Request[int]):
    pass


class Mirror(Agent):
    @on
    async def blob(self, msg: Blob) -> bytes:
        return msg.data

    @on
    async def pid(self, msg: Pid) -> int:
        return os.getpid()
