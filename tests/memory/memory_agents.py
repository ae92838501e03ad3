"""What the tests spawn: agents, and a backend with a disk that a test can fill."""

import os
import signal
from typing import ClassVar

from actorsys import Agent, Event, Request, StateError, on
from actorsys.memory.sqlite import Sqlite


class Add(Request[int]):
    n: int


class Total(Request[int]):
    pass


class Die(Event):
    """Kills the process that handles it, once."""


class Counter(Agent):
    @on
    async def add(self, msg: Add) -> int:
        self.state["total"] = self.state.get("total", 0) + msg.n
        return self.state["total"]

    @on
    async def total(self, msg: Total) -> int:
        return self.state.get("total", 0)

    @on
    async def die(self, msg: Die) -> None:
        if not self.state.get("has_died"):
            self.state["has_died"] = True
            await self.state.commit()
            os.kill(os.getpid(), signal.SIGKILL)


class Renamed(Counter):
    """The same, a version later."""

    state_version: ClassVar[int] = 2

    def migrate(self, old: dict, version: int) -> dict:
        return {"total": old["total"] * 100}


class Fillable(Sqlite):
    """The disk is full while there is a file `full` beside the state."""

    async def commit(self, changes, message_ids, frame):
        if os.path.exists(os.environ["FULL"]):  # noqa: ASYNC240 - a test
            raise StateError("the disk is full", reason="full")
        await super().commit(changes, message_ids, frame)
