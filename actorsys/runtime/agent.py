"""The class that users write: an agent with handlers, state and a mailbox, alone in its own process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeVar, overload

from ..errors import ActorError, Unreachable
from ..mailbox.codec import decoder
from ..mailbox.kinds import packed
from ..mailbox.letter import TELL, Letter, Watch
from ..mailbox.outbox import Far, WhenDown
from ..mailbox.ref import Ref
from ..messages import Down, Event, Message, Request, class_path
from .context import current
from .handlers import Handler, collect, is_async, is_stream
from .state import State
from .timers import Timer

if TYPE_CHECKING:
    from ..bus.nats import NatsBus
    from ..llm.client import LLM
    from ..memory.base import Memory
    from .loop import Runtime

R = TypeVar("R")


class Agent:
    """Subclass it, mark handlers with `@on`, and spawn it; the constructor takes the `args` of its table in agents.toml.

    An instance lives in a process of its own, one incarnation of the agent. It handles one message at a time, unless
    `concurrency` says more. An exception in a handler goes to whoever asked; when nobody did, the agent crashes and is restarted.

    >>> class Echo(Agent):
    ...     async def receive(self, message):
    ...         return message.payload
    """

    state_version: ClassVar[int] = 1
    """The form of `self.state`; with a higher one than is stored `migrate` is called before `on_start`."""

    __handlers__: ClassVar[dict[str, Handler]] = {}
    __runtime: Runtime | None = None

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.__handlers__ = collect(cls)

    @classmethod
    def __before_fork__(cls) -> None:
        """Called where the class was loaded, before its agents are forked: they share what each would find out for 0.3 MiB."""
        is_async(cls.receive), is_async(cls.on_notice), is_async(cls.on_broadcast), is_async(cls.on_completed)
        is_stream(cls.receive), is_stream(cls.on_broadcast), is_stream(cls.on_completed)
        for handler in cls.__handlers__.values():
            with suppress(Exception):  # it is reported by the agent, which makes it again
                decoder(handler.type)

    # --- for subclasses to override

    async def on_start(self) -> None:
        """Called once per incarnation, state already restored; the agent is ready, and gets mail, when this returns."""

    def migrate(self, old: dict[str, Any], version: int) -> dict[str, Any]:
        """Make of a state stored by `version` of this class one of `state_version`; both are committed together.

        Called once, before `on_start`, when a durable backend holds a state of a lower version.
        """
        raise NotImplementedError(
            f"the stored state is of version {version}, {type(self).__name__}.state_version is {self.state_version}: override migrate()"
        )

    async def on_stop(self, reason: str) -> None:
        """Called before an ordered end, within `stop_timeout`. Not called after a crash or a kill."""

    def receive(self, message: Message) -> Any:  # async in a subclass: a coroutine, or an async generator
        """Called with whatever no handler takes; what it returns is the reply to an ask, and what an async generator yields its parts."""
        raise NotImplementedError  # never reached: without an override the runtime answers BadMessage

    async def on_notice(self, notice: Down) -> None:
        """Called, like a handler, when an agent that this one monitors has died."""
        self.log.info("%s is down: %s", notice.agent, notice.reason)

    async def on_broadcast(self, message: Message) -> None:
        """Called with a broadcast that no handler takes; without an override `receive` is, if there is one."""

    async def on_completed(self, message: Message) -> None:
        """Called when somebody is done with what this agent handed over, and with acknowledgements of what this one was done with.

        `message.in_reply_to` is the id that `handoff` returned, `message.metadata["notice"]` "completion" or "acknowledgement", and
        `message.metadata["outcome"]` "done" or "failed"; then `message.payload` is the failure. Without an override `receive` is
        called, if there is one.
        """

    # --- to use

    @property
    def name(self) -> str:
        """As others address it: "counter", or "counter/1" when it is one of several replicas."""
        return self._runtime.name

    @property
    def state(self) -> State:
        """A mapping that commits together with each message and rolls back with a failing one."""
        return self._runtime.state

    @property
    def memory(self) -> Memory:
        """The raw backend of the state."""
        return self._runtime.memory

    @property
    def log(self) -> logging.Logger:
        """A standard logger; its lines show up in the supervisor's output under the agent's name."""
        return self._runtime.log

    @property
    def sender(self) -> Ref | None:
        """Who sent the message being handled, if an agent of this node did."""
        return self._runtime.sender()

    @property
    def message(self) -> Message | None:
        """The message being handled, with its id, priority and metadata."""
        return self._runtime.message()

    @property
    def llm(self) -> LLM:
        """The language model of this agent's profile: `complete` and `stream`; in a handler, with a durable backend, each call is a step."""
        return self._runtime.llm

    @property
    def bus(self) -> NatsBus:
        """The agent's own NATS connection. Raises Unreachable where NATS is off, and in `on_start`: it is opened once the agent is ready."""
        bus = self._runtime.bus
        if bus is None:
            raise Unreachable(f"{self.name} has no NATS connection: NATS is off, or the agent is not ready yet.")
        return bus

    def agent(self, name: str) -> Ref:
        """A handle of another agent, of this node or of another one; it need not exist yet."""
        return Ref(name, self._runtime)

    async def find(self, *, capability: str) -> list[Ref]:
        """The agents, of this node first, then of others, that were given this capability and are there."""
        return [self.agent(name) for name in await self._runtime.command("find", {"capability": capability})]

    async def discover(self) -> list[dict[str, Any]]:
        """The other agents that are there, of this node first: `name`, `node`, `capabilities` and `description` of each."""
        rows: list[dict[str, Any]] = await self._runtime.command("agents", {"but": self.name})
        return rows

    @overload
    async def ask(
        self,
        message: Request[R],
        *,
        capability: str,
        timeout: float = 30.0,
        when_down: WhenDown = "wait",
        idempotent: bool = False,
    ) -> R: ...
    @overload
    async def ask(
        self,
        message: dict[str, Any] | str,
        *,
        capability: str,
        timeout: float = 30.0,
        when_down: WhenDown = "wait",
        idempotent: bool = False,
    ) -> Any: ...
    async def ask(
        self,
        message: Any,
        *,
        capability: str,
        timeout: float = 30.0,
        when_down: WhenDown = "wait",
        idempotent: bool = False,
    ) -> Any:
        """Ask one of the other agents with a capability: of this node the one with the least mail, else any of another node.

        One that turns out to be gone before its handler ran is passed over; all within `timeout`. Raises what `Ref.ask` raises, and
        UnknownAgent when no other agent has the capability.
        """
        return await self._runtime.ask_any(capability, message, timeout=timeout, when_down=when_down, idempotent=idempotent)

    async def handoff(self, to: Ref | str, content: Any, metadata: dict[str, Any] | None = None) -> str:
        """Give a task to an agent, of this node or another, and go on; its id. The outcome comes to `on_completed`.

        Returns when the task is in the other's mailbox, at priority 1. It leaves at once, also in a handler, and a handler that runs
        again after a crash hands over under the same id: an agent's mailbox that has it takes it once.

        Raises UnknownAgent or AgentDown when nobody takes it, MailboxFull, BadMessage for what is no JSON, and Unreachable without
        NATS and in `on_start`.
        """
        runtime = self._runtime
        kind, payload = packed(content)
        letter = Letter(TELL, 0, to if isinstance(to, str) else to.name, "", kind, runtime.fit(payload), 1)
        return await self._far.hand_over(letter, runtime.trace(), metadata, key=runtime.key())

    async def broadcast(self, content: Any, metadata: dict[str, Any] | None = None) -> str:
        """Tell every other agent, of all nodes; its id. Whoever has no room, or is not there, misses it.

        It leaves at once, also in a handler; a handler that runs again sends it again, under the same id. Raises BadMessage for what
        is no JSON, and Unreachable without NATS and in `on_start`.
        """
        runtime = self._runtime
        kind, payload = packed(content)
        letter = Letter(TELL, 0, "", "", kind, runtime.fit(payload))
        return await self._far.broadcast(letter, runtime.trace(), metadata, key=runtime.key())

    @property
    def _far(self) -> Far:
        far = self._runtime.far
        if far is None:
            raise Unreachable(f"{self.name} has no NATS connection, which handoffs and broadcasts need: NATS is off.")
        return far

    def every(self, seconds: float, message: Event | Request[Any] | Any) -> Timer:
        """Send this agent a message each `seconds`, the first one after `seconds`; at most one is pending at a time.

        The timer is gone with the process: set it in `on_start`. Its `cancel()` ends it earlier.
        """
        return self._runtime.timers.start(seconds, *packed(message), repeat=True)

    def after(self, seconds: float, message: Event | Request[Any] | Any) -> Timer:
        """Send this agent a message once, `seconds` from now, unless its process ends before."""
        return self._runtime.timers.start(seconds, *packed(message), repeat=False)

    async def spawn(self, agent: type | str, *, name: str, **options: Any) -> Ref:
        """Start another agent, of a class or of "module:Class"; return when it is ready.

        `options` are the keys of its table in agents.toml. It is `temporary` unless `restart` says otherwise, and outlives this agent
        unless the two are linked.

        Raises ConfigError for a wrong option or a name in use, StartFailed when it does not become ready.
        """
        path = agent if isinstance(agent, str) else class_path(agent)
        options["restart"] = {"type": "temporary", **options.get("restart", {})}
        await self._runtime.command("spawn", {"type": path, "name": name, "options": options})
        return self.agent(name)

    async def step(self, name: str, function: Callable[..., Any], *args: Any, repeatable: bool = True) -> Any:
        """Call `function(*args)`, sync or async, once for the message being handled, and return its result.

        The result is stored under the message's id; when the message is delivered again after a crash, a finished step returns what
        it returned, as plain values. A step that was cut off runs again, unless `repeatable=False`: then it raises StepInDoubt.

        Raises StateError when the backend is not durable, or the result cannot be stored.
        """
        runtime = self._runtime
        return await runtime.steps.perform(current.get(), name, function, args, repeatable=repeatable)

    def monitor(self, agent: Ref | str) -> None:
        """Be told of the next death of an agent: one `Down` to `on_notice`; at once if there is no such agent or it is down."""
        self._watch("monitor", agent)

    def demonitor(self, agent: Ref | str) -> None:
        """End all monitors on an agent."""
        self._watch("demonitor", agent)

    def link(self, agent: Ref | str) -> None:
        """Tie the life of this incarnation to that of another agent: the abnormal death of one kills the other, and the restart types
        decide who is started again. A normal end, or `unlink`, dissolves the link."""
        self._watch("link", agent)

    def unlink(self, agent: Ref | str) -> None:
        self._watch("unlink", agent)

    def _watch(self, what: Literal["monitor", "demonitor", "link", "unlink"], agent: Ref | str) -> None:
        self._runtime.note(Watch(what, agent if isinstance(agent, str) else agent.name))

    async def stop(self, reason: str = "normal") -> None:
        """End this agent, normally, once the current handler is done."""
        self._runtime.stop(reason)

    @property
    def _runtime(self) -> Runtime:
        if self.__runtime is None:
            raise ActorError(
                f"{type(self).__name__} is not running: an agent works in its own process; spawn it with a Supervisor"
            )
        return self.__runtime

    @classmethod
    def _born(cls, runtime: Runtime, args: dict[str, Any]) -> Self:
        """An instance whose constructor may already use its name, state and log."""
        agent = cls.__new__(cls)
        agent.__runtime = runtime
        agent.__init__(**args)  # type: ignore[misc]  # the subclass decides its own keywords
        return agent
