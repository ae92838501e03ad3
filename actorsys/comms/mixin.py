"""A class of yours, on NATS: `AgentComms` gives it a name that others can ask, tell and find. No supervisor needed."""

import asyncio
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import structs

from ..bus import envelope, stamp
from ..bus.base import Bus
from ..errors import ActorError, DefinitionError
from ..messages import Message
from ..names import NAME_RULE, is_name
from .config import NatsConfig
from .handlers import Method, current, method
from .peers import Peer
from .post import content_of
from .session import Session, Takes


class AgentComms:
    """Mix it into any class that has a `name`; set that before `super().__init__()`, or as an attribute of the class.

    >>> class Weather(AgentComms):
    ...     def __init__(self):
    ...         self.name = "weather"
    ...         super().__init__()
    ...     def run(self, message):
    ...         return f"sunny in {message}"
    >>> Weather().is_on_nats
    False

    What the class may define, each `def` (it runs in a thread) or `async def`:

    - `run(message)` answers requests with what it returns;
    - `agentic_run(message)` works on direct messages and handoffs; what it returns goes into the completion, where one is wanted.

    `message` is the content that was sent; where the parameter is annotated with `actorsys.Message`, it is that: id, sender,
    metadata, priority and so on, with the content as its `payload`. By default one of each runs at a time (`NatsConfig.concurrency`).
    An exception in one of them goes to whoever sent the message, and the next message is handled.
    """

    name: str
    __session: Session | None = None

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.__checked_name()

    # --- for the class to override

    async def on_broadcast(self, message: Message) -> None:
        """Called with what another agent told everyone."""

    async def on_completed(self, message: Message) -> None:
        """Called when somebody is done with what this agent handed over, and with acknowledgements of what this one was done with.

        `message.in_reply_to` is the id that `handoff_to_agent` returned, `message.metadata["notice"]` is "completion" or
        "acknowledgement", and `message.metadata["outcome"]` "done" or "failed"; then `message.payload` is the failure.
        """

    # --- to use

    async def connect_nats(
        self,
        nats_url: str | None = None,
        *,
        capabilities: Sequence[str] = (),
        description: str = "",
        config: NatsConfig | None = None,
        bus: Bus | None = None,
    ) -> bool:
        """Listen on this agent's subjects and tell the others; true if connected within `connection_timeout`.

        When it is not, it keeps trying in the background, and all begins to work by itself. The URL is NATS_URL unless given.
        `bus` is a connection that exists already; it is used and left open.

        Raises ConfigError for a wrong setting, ActorError when already connected.
        """
        if self.__session is not None:
            raise ActorError(f"{self.name} is on NATS already; `await disconnect_nats()` first.")
        config = _config(nats_url, config)
        takes = Takes(
            run=method(self, "run"),
            agentic_run=method(self, "agentic_run"),
            on_broadcast=Method(self.on_broadcast, whole=True),
            on_completed=Method(self.on_completed, whole=True),
        )
        if isinstance(capabilities, str):
            capabilities = [capabilities]
        session = Session(
            self.__checked_name(), takes, config, capabilities=tuple(capabilities), description=description, bus=bus
        )
        self.__session = session
        try:
            return await session.start()
        except BaseException:
            self.__session = None
            raise

    async def disconnect_nats(self) -> None:
        """Tell the others, finish what has arrived (at most `drain_timeout`), and close the connection; nothing is left behind.

        Called from `run`, that call's own answer is lost: use `stop_nats` there.
        """
        session = self.__session
        if session is not None:
            try:
                await session.close()
            finally:
                self.__session = None

    async def run_with_nats(
        self,
        nats_url: str | None = None,
        *,
        capabilities: Sequence[str] = (),
        description: str = "",
        config: NatsConfig | None = None,
        bus: Bus | None = None,
        signals: bool = False,
    ) -> None:
        """Connect if not connected, and serve until `stop_nats`, `disconnect_nats` or cancellation; then disconnect.

        `signals`: SIGINT and SIGTERM stop it in order, the second one at once. Only in the main thread.
        """
        with _stopping_on_signals(self, asyncio.current_task()) if signals else _nothing() as asked:
            if self.__session is None:
                await self.connect_nats(nats_url, capabilities=capabilities, description=description, config=config, bus=bus)
            assert self.__session is not None
            try:
                if not asked.is_set():
                    await self.__session.stopped.wait()
            finally:
                await self.disconnect_nats()

    def stop_nats(self) -> None:
        """Make `run_with_nats` return once what has arrived is handled; to be called from a handler, on the event loop or not."""
        session = self.__session
        if session is not None:
            session.stop()

    async def request_from_agent(
        self,
        to_agent: str,
        content: Any,
        timeout: float | None = None,
        *,
        metadata: dict[str, Any] | None = None,
        priority: int = 3,
    ) -> Any:
        """Ask an agent, wait up to `timeout` seconds (default: `message_timeout`), and return the content of its answer.

        Raises UnknownAgent at once if nobody listens, AskTimeout, Unreachable without a connection, BadMessage for content that
        is no JSON, and whatever the other agent failed with: RemoteError for an exception in its handler.
        """
        session = self.__connected()
        wait = session.config.message_timeout if timeout is None else timeout
        return await session.ask(to_agent, content, wait, metadata, priority)

    async def send_direct_message(
        self,
        to_agent: str,
        content: Any,
        metadata: dict[str, Any] | None = None,
        *,
        priority: int = 3,
        in_reply_to: str | None = None,
    ) -> str:
        """Tell an agent something; the id of the message. With `metadata={"notify": True}` a completion comes to `on_completed`.

        Returns when the other side says that it has the message. One that says nothing within `confirm_timeout` is taken to have it.

        Raises UnknownAgent at once if nobody listens, Unreachable without a connection, and why the other side refuses it:
        MailboxFull, BadMessage.
        """
        session = self.__connected()
        made = envelope.message(
            self.name, to_agent, content_of(content), stamp.fresh(), metadata=metadata, in_reply_to=in_reply_to, priority=priority
        )
        return await session.tell(made)

    async def handoff_to_agent(self, to_agent: str, content: Any, metadata: dict[str, Any] | None = None) -> str:
        """Hand a task over: a record for all to see, and the task at priority 1; its id. A completion comes to `on_completed`.

        Raises what `send_direct_message` raises.
        """
        return await self.__connected().hand_over(to_agent, content, metadata)

    async def broadcast_message(self, content: Any, metadata: dict[str, Any] | None = None, *, priority: int = 3) -> str:
        """Tell everyone something; its id. Without a connection it waits for one, as far as there is room; else Unreachable."""
        return await self.__connected().broadcast(content, metadata, priority)

    async def discover_agents(self, capability: str | None = None, *, wait: float = 1.0) -> list[Peer]:
        """The other agents: those that answer within `wait` seconds, and those heard of, "stale" if not for three heartbeats.

        With a `capability`, those that have it and are not stale.
        """
        session = self.__connected()
        peers = await session.discover(wait)
        return peers if capability is None else [peer for peer in peers if capability in peer.capabilities and not peer.is_stale]

    @property
    def is_on_nats(self) -> bool:
        """Whether there is a connection now."""
        return self.__session is not None and self.__session.bus.is_connected

    @property
    def nats_bus(self) -> Bus:
        """The connection itself: publish, request, subscribe, stats."""
        return self.__connected().bus

    @property
    def nats_message(self) -> Message | None:
        """The message that is being handled, with sender, id and metadata, however the handler is written."""
        return current.get()

    def __connected(self) -> Session:
        if self.__session is None:
            raise ActorError(f"{self.__checked_name()} is not on NATS; `await connect_nats()` first.")
        return self.__session

    def __checked_name(self) -> str:
        name = getattr(self, "name", None)
        if not isinstance(name, str) or not is_name(name):
            what = f"is {name!r}" if name is not None else "is not set"
            text = f"{type(self).__name__}.name {what}; before `super().__init__()` make it {NAME_RULE}."
            raise DefinitionError(text, where=f"{type(self).__module__}.{type(self).__qualname__}")
        return name


def _config(nats_url: str | None, config: NatsConfig | None) -> NatsConfig:
    if config is None:
        return NatsConfig(nats_url) if nats_url else NatsConfig()
    return structs.replace(config, nats_url=nats_url) if nats_url else config


@contextmanager
def _nothing() -> Iterator[asyncio.Event]:
    yield asyncio.Event()


@contextmanager
def _stopping_on_signals(agent: AgentComms, task: "asyncio.Task[Any] | None") -> Iterator[asyncio.Event]:
    """The first signal sets the event and stops the agent, the second cancels the task."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if asked.is_set() and task is not None:
            task.cancel()
        asked.set()
        agent.stop_nats()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield asked
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
