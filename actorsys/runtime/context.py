"""What the runtime knows about the message that is being handled right now."""

import asyncio
from contextvars import ContextVar
from typing import Any

from ..mailbox.letter import Letter


class Delivery:
    """One attempt at one letter. What its handler sends is kept here until the handler ends, or waits."""

    __slots__ = ("is_cancelled", "is_open", "letter", "sends", "worker")

    def __init__(self, letter: Letter, worker: "asyncio.Task[Any]") -> None:
        self.letter = letter
        self.worker = worker
        self.sends: list[Letter] = []
        self.is_open = True
        self.is_cancelled = False


current: ContextVar[Delivery | None] = ContextVar("actorsys_delivery", default=None)
