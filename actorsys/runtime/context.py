"""What the runtime knows about the message that is being handled right now."""

import asyncio
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from ..mailbox.letter import Letter
from .state import State

if TYPE_CHECKING:
    from .flow import Flow


class Delivery:
    """One attempt at one letter. What its handler sends is kept here until the handler ends, or waits."""

    __slots__ = ("flow", "is_cancelled", "is_open", "letter", "published", "sends", "state", "steps", "told", "worker")

    def __init__(self, letter: Letter, worker: "asyncio.Task[Any]", state: State) -> None:
        self.letter = letter
        self.worker = worker
        self.state = state  # the agent's, or with several handlers at once a view of its own, so that one rolls back alone
        self.sends: list[Letter] = []
        self.told = 0  # tells that left, or may have left in an earlier attempt, with their ordinals
        self.published = 0  # handoffs and broadcasts so far
        self.flow: Flow | None = None  # where the parts of its answer go, if it is asked for any
        self.steps: set[str] | None = None  # names of those begun, once there is one
        self.is_open = True
        self.is_cancelled = False


current: ContextVar[Delivery | None] = ContextVar("actorsys_delivery", default=None)
