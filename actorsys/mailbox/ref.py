"""A handle of an agent: valid across its restarts, equal by name, sendable inside messages."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from ..errors import ActorError
from ..messages import Event, Request
from .letter import DEFAULT_PRIORITY
from .outbox import Outbox, WhenDown
from .stream import Stream

R = TypeVar("R")

home: Outbox | None = None  # of this process; refs that arrive inside messages use it


class Ref:
    """Talks to the agent of that name, whichever process it is in at the moment."""

    __slots__ = ("_outbox", "name")

    def __init__(self, name: str, outbox: Outbox | None = None) -> None:
        self.name = name
        self._outbox = outbox

    @property
    def __ref_name__(self) -> str:
        return self.name

    @classmethod
    def __from_ref_name__(cls, name: str) -> Ref:
        return cls(name)

    def __repr__(self) -> str:
        return f"<Ref {self.name}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def outbox(self) -> Outbox:
        outbox = self._outbox or home
        if outbox is None:
            raise ActorError(f"{self!r} was made outside of a supervisor and of an agent; use `supervisor.agent({self.name!r})`")
        return outbox

    async def tell(self, message: Event | Request[Any] | Any, priority: int = DEFAULT_PRIORITY) -> None:
        """Hand a message to the agent's mailbox; wait only while that is full, or, after many, for one turn of the event loop.

        `priority` goes from 1 (urgent) to 5.

        Outside a handler the message is in custody when this returns; inside, it leaves with the handler's frame.

        Raises UnknownAgent (outside a handler), BadMessage for a value that cannot be encoded, and MailboxFull when the overflow
        policy is "reject" and there is no room, or after 30 s without room.
        """
        outbox = self._outbox or self.outbox  # a call less, as there is one of these for each message
        await outbox.tell(self.name, message, priority=priority)

    @overload
    async def ask(
        self,
        message: Request[R],
        timeout: float = 30.0,
        *,
        priority: int = DEFAULT_PRIORITY,
        when_down: WhenDown = "wait",
        idempotent: bool = False,
    ) -> R: ...
    @overload
    async def ask(
        self,
        message: dict[str, Any] | str,
        timeout: float = 30.0,
        *,
        priority: int = DEFAULT_PRIORITY,
        when_down: WhenDown = "wait",
        idempotent: bool = False,
    ) -> Any: ...
    async def ask(
        self,
        message: Any,
        timeout: float = 30.0,
        *,
        priority: int = DEFAULT_PRIORITY,
        when_down: WhenDown = "wait",
        idempotent: bool = False,
    ) -> Any:
        """Send a request and wait for its reply, `timeout` seconds at most.

        While the agent restarts the ask waits; `when_down="fail"` fails at once instead. `idempotent`: it does no harm if the request is
        handled twice, so an agent of another node that does not answer is asked again, three times at most within the timeout.

        Raises AskTimeout, RemoteError (its handler raised), AgentDown (it ended for good), UnknownAgent, MailboxFull, AskCycle,
        and BadMessage for a request that does not fit its handler; Unreachable when it lives on another node and NATS is lost.
        """
        outbox = self._outbox or self.outbox
        return await outbox.ask(
            self.name, message, timeout=timeout, priority=priority, when_down=when_down, idempotent=idempotent
        )

    @overload
    def stream(
        self,
        message: Request[R],
        timeout: float = 30.0,
        *,
        priority: int = DEFAULT_PRIORITY,
        when_down: WhenDown = "wait",
    ) -> Stream[R]: ...
    @overload
    def stream(
        self,
        message: dict[str, Any] | str,
        timeout: float = 30.0,
        *,
        priority: int = DEFAULT_PRIORITY,
        when_down: WhenDown = "wait",
    ) -> Stream[Any]: ...
    def stream(
        self,
        message: Any,
        timeout: float = 30.0,
        *,
        priority: int = DEFAULT_PRIORITY,
        when_down: WhenDown = "wait",
    ) -> Stream[Any]:
        """Send a request and read its answer in parts, as the handler yields them: `async for part in ref.stream(msg)`.

        `timeout` is the longest wait for the next part, in seconds. A slow reader slows the handler; who stops reading (`break`,
        `aclose()`, an error, a cancellation) stops it. A handler that returns its reply makes a stream of one part.

        Raises what `ask` raises. AskTimeout stops the handler, too. An agent that dies after a part has passed ends the stream with
        AgentDown: its handler is not run again.
        """
        return self.outbox.stream(self.name, message, timeout=timeout, priority=priority, when_down=when_down)

    async def state(self) -> dict[str, Any]:
        """What the agent's `self.state` held after the last message it acknowledged."""
        state: dict[str, Any] = await self.outbox.command("state", {"name": self.name})
        return state

    async def stop(self) -> None:
        """Stop the agent; its mail is kept until it is started again."""
        await self.outbox.command("stop", {"names": [self.name]})

    async def restart(self) -> None:
        """Stop the agent in order and start it again; not charged to its restart limit."""
        await self.outbox.command("restart", {"names": [self.name]})

    async def info(self) -> dict[str, Any]:
        """The fields of `actorsys ps -o json` for this agent."""
        info: dict[str, Any] = await self.outbox.command("info", {"name": self.name})
        return info
