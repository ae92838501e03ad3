"""One agent on NATS, without a supervisor: what it listens to, what becomes of what arrives, and what it says of itself.

    agents.request.{token}   -> requests, one lane  -> run            -> the reply subject
    agents.direct.{token}    -> work, one lane      -> agentic_run    -> a completion, where one is wanted
                             -> notices, one lane   -> on_completed
    agents.all               -> broadcasts          -> on_broadcast
                             -> announcements, heartbeats: the table of peers

What arrives is checked and queued at once, so a slow handler holds up neither its own confirmations nor the table.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from msgspec import Struct

from ..bus import envelope, stamp, subjects
from ..bus.base import Bus, Incoming, Subscription
from ..bus.envelope import Envelope
from ..bus.nats import NatsBus
from ..clock import now_ns
from ..errors import ActorError, AskTimeout, BadMessage, MailboxFull, UnknownAgent, Unreachable
from ..mailbox.recent import Recent
from ..messages import Failure, Message
from ..names import did_you_mean, token
from ..units import SECOND_NS
from . import handoff, micro
from .beat import Beat
from .config import NatsConfig
from .lane import Lane
from .peers import Peer, Peers
from .pings import Pings
from .post import ENVELOPE_BYTES, Post, content_of, message_of

log = logging.getLogger("actorsys.comms")

Take = Callable[[Message], Awaitable[Any]]


class Takes(Struct, frozen=True):
    """Who handles what; None: nobody does."""

    run: Take | None
    agentic_run: Take | None
    on_broadcast: Take
    on_completed: Take


class _Item(Struct, frozen=True):
    read: Envelope
    reply: str
    deadline: int | None = None  # when its asker gives up


class Session:
    def __init__(
        self, name: str, takes: Takes, config: NatsConfig, *, capabilities: tuple[str, ...], description: str, bus: Bus | None
    ) -> None:
        self.name = name
        self.config = config
        self.stopped = asyncio.Event()
        self._takes = takes
        self._capabilities = capabilities
        self._description = description
        self._inbox = f"_INBOX_{token(name)}"
        self._owns_bus = bus is None
        self.bus: Bus = bus or NatsBus(config.connection(), name=f"agent {name}", inbox_prefix=self._inbox)
        self.post = Post(self.bus, name)
        self.peers = Peers(int(config.heartbeat_interval * SECOND_NS))
        self._pings = Pings(self.bus, self.peers)
        queue = subjects.queue(name)
        self._asked = micro.Endpoint("request", subjects.request(name), queue)
        self._told = micro.Endpoint("direct", subjects.direct(name), queue)
        self._micro = micro.Micro(self.bus, [self._asked, self._told], self._metadata, description=description)
        many = {"concurrency": config.concurrency, "size": config.queue_size}
        self._requests: Lane[_Item] = Lane(self._answer, name=name, **many)
        self._work: Lane[_Item] = Lane(self._do, name=name, **many)
        self._notices: Lane[Message] = Lane(self._notice(takes.on_completed, "on_completed"), name=name, size=config.queue_size)
        self._broadcasts: Lane[Message] = Lane(
            self._notice(takes.on_broadcast, "on_broadcast"), name=name, size=config.queue_size
        )
        self._beat = Beat(config.heartbeat_interval, self._say_beat)
        self._subscriptions: list[Subscription] = []
        self._recent = Recent()
        self._closing = asyncio.Lock()
        self._is_closed = False
        self._loop = asyncio.get_running_loop()

    # --- coming and going

    async def start(self) -> bool:
        """Listen, and say so; true if connected by now. Raises ConfigError when the server refuses a subject of ours."""
        try:
            await self.bus.start()
            try:
                await self.bus.wait_connected(self.config.connection_timeout)
            except Unreachable as error:
                log.warning("%s goes on without NATS, and keeps trying: %s", self.name, error)
            queue = self._asked.queue_group
            for subject, handler in ((self._asked.subject, self._on_request), (self._told.subject, self._on_direct)):
                made = await self.bus.subscribe(subject, handler, queue=queue, on_full=self.post.full)
                self._subscriptions.append(made)
            self._subscriptions.append(await self.bus.subscribe(subjects.ALL, self._on_all))
            await self._micro.start()
            await self._announce("join")
            if self._is_closed:
                raise Unreachable(f"{self.name} was disconnected from NATS while it was connecting")
            self._beat.start()
            if self._owns_bus and isinstance(self.bus, NatsBus):
                self.bus.watch(lambda state: self._beat.soon() if state == "connected" else None)
        except BaseException:
            await self._close(say_leave=False)
            raise
        return self.bus.is_connected

    async def close(self) -> None:
        """Say goodbye, finish what has arrived within `drain_timeout`, then leave nothing behind. Twice is once."""
        async with self._closing:
            if not self._is_closed:
                await self._close(say_leave=True)

    def stop(self) -> None:
        """Let whoever waits for `stopped` go on; from any thread."""
        self._loop.call_soon_threadsafe(self.stopped.set)

    async def _close(self, *, say_leave: bool) -> None:
        self._is_closed = True
        self.stopped.set()
        lanes = (self._requests, self._work, self._notices, self._broadcasts)
        timeout = self.config.drain_timeout
        try:
            await self._beat.close()
            if say_leave and self.bus.is_connected:
                with suppress(ActorError):
                    await self._announce("leave")
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await asyncio.gather(*(each.drain(timeout) for each in self._subscriptions))
                    await asyncio.gather(*(lane.drain(asyncio.current_task()) for lane in lanes))
        finally:
            self._subscriptions.clear()
            lost = sum([await lane.close() for lane in lanes])
            if lost:
                log.warning("%s: %d messages were not handled before the end", self.name, lost)
            if self._owns_bus:
                await self.bus.drain(timeout)
            else:
                await self._micro.close()

    # --- what it says of itself

    @property
    def status(self) -> str:
        return "busy" if self._requests.is_busy or self._work.is_busy else "idle"

    def _about(self) -> dict[str, Any]:
        return {
            "node": self.config.node,
            "instance": self._micro.id,
            "capabilities": list(self._capabilities),
            "description": self._description,
        }

    def _metadata(self) -> dict[str, str]:
        return micro.about(self.name, self.config.node, self._capabilities, self.status)

    async def _announce(self, event: Any) -> None:
        said = envelope.announcement(self.name, event, stamp.fresh(), **self._about())
        await self.bus.publish(subjects.ALL, envelope.encode(said))

    async def _say_beat(self) -> None:
        if self.bus.is_connected:  # one that waits for a connection would be old news by then
            said = envelope.heartbeat(self.name, self.status, stamp.fresh(), **self._about())
            await self.bus.publish(subjects.ALL, envelope.encode(said))

    # --- what arrives

    async def _on_request(self, incoming: Incoming) -> None:
        if (read := await self.post.read(incoming)) is None:
            return
        if self._takes.run is None:
            error = BadMessage(f"{self.name} answers no requests: its class has no run(message).", field="message_type")
            await self.post.refuse(incoming.reply, read, error)
            return
        if await self._queue(self._requests, _Item(read, incoming.reply, _deadline(read, now_ns()))):
            await self.post.confirm(read)

    async def _on_direct(self, incoming: Incoming) -> None:
        if (read := await self.post.read(incoming)) is None:
            return
        if handoff.is_cancel(read):
            await self.post.respond(incoming.reply, read, None)  # and what has begun here is finished
            return
        if handoff.is_notice(read):
            await self._take_notice(read, incoming.reply)
        elif self._takes.agentic_run is None:
            error = BadMessage(f"{self.name} takes no tasks: its class has no agentic_run(message).", field="message_type")
            await self.post.refuse(incoming.reply, read, error)
            if handoff.wants_completion(read):
                await handoff.complete(self.post, read, None, error)
        elif await self._queue(self._work, _Item(read, incoming.reply)):
            await self.post.respond(incoming.reply, read, None)

    async def _take_notice(self, read: Envelope, reply: str) -> None:
        try:
            self._notices.put(message_of(handoff.with_outcome(read), self.name), read.priority)
        except MailboxFull as error:
            await self.post.refuse(reply, read, error)
            self.post.warn("notices", "a completion from %s was dropped: %s", read.from_agent, error)
            return
        await self.post.respond(reply, read, None)
        if handoff.wants_acknowledgement(read):
            await handoff.acknowledge(self.post, read)

    async def _on_all(self, incoming: Incoming) -> None:
        if (read := await self.post.read(incoming)) is None:
            return
        if read.message_type == "broadcast":
            if read.from_agent == self.name:
                return
            try:
                self._broadcasts.put(message_of(read, self.name), read.priority)
            except MailboxFull as error:
                self.post.warn("broadcasts", "a broadcast from %s was dropped: %s", read.from_agent, error)
        elif isinstance(read.content, dict) and read.content.get("instance") != self._micro.id:
            node = read.content.get("node")
            if isinstance(node, str) and read.content.get("event") == "join" and not self.peers.has_node(node):
                self._beat.soon()  # whoever is new there has not heard of us
            self.peers.heard(read, now_ns())

    async def _queue(self, lane: Lane[_Item], item: _Item) -> bool:
        """Whether it is ours now; what another node sends again is so already."""
        if self._recent.is_repeated({"message_id": item.read.message_id, "metadata": item.read.metadata}):
            return True
        try:
            lane.put(item, item.read.priority)
            return True
        except MailboxFull as error:
            self._recent.forget(item.read.message_id)
            await self.post.refuse(item.reply, item.read, error)
            self.post.warn("full", "a message from %s was refused: %s", item.read.from_agent, error)
            return False

    # --- what is done with it

    async def _answer(self, item: _Item) -> None:
        assert self._takes.run is not None
        if item.deadline is not None and item.deadline <= now_ns():
            return  # nobody waits for the answer any more
        result, error = await self._called(self._takes.run, item.read, self._asked)
        if error is None:
            await self.post.respond(item.reply, item.read, content_of(result))
        else:
            await self.post.refuse(item.reply, item.read, error)

    async def _do(self, item: _Item) -> None:
        assert self._takes.agentic_run is not None
        result, error = await self._called(self._takes.agentic_run, item.read, self._told)
        if handoff.wants_completion(item.read):
            await handoff.complete(self.post, item.read, content_of(result), error)

    async def _called(self, take: Take, read: Envelope, endpoint: micro.Endpoint) -> tuple[Any, BaseException | None]:
        began = now_ns()
        result, error = None, None
        try:
            result = await take(message_of(read, self.name))
        except BaseException as problem:
            if _is_our_end(problem):
                raise
            log.warning("%s: the handler of a message from %s failed", self.name, read.from_agent, exc_info=problem)
            error = problem
        endpoint.count(now_ns() - began, error)
        return result, error

    def _notice(self, take: Take, what: str) -> Take:
        async def call(message: Message) -> None:
            try:
                await take(message)
            except BaseException as problem:
                if _is_our_end(problem):
                    raise
                log.warning("%s: %s failed", self.name, what, exc_info=problem)

        return call

    # --- what it sends

    async def ask(self, to: str, content: Any, timeout: float, metadata: dict[str, Any] | None, priority: int) -> Any:
        about = {"timeout": timeout, **(metadata or {})}
        made = envelope.request(self.name, to, content_of(content), stamp.fresh(), metadata=about, priority=_checked(priority))
        incoming = await self._exchange(subjects.request(to), made, timeout)
        answer = envelope.decode(incoming.payload, limit=ENVELOPE_BYTES)
        if answer.message_type == "error":
            raise envelope.failure(answer).error()
        return answer.content

    async def tell(self, made: Envelope) -> str:
        """Send a direct message; its id."""
        assert made.to_agent is not None
        _checked(made.priority)
        try:
            incoming = await self._exchange(subjects.direct(made.to_agent), made, self.config.confirm_timeout)
        except AskTimeout:
            log.info("%s: %s has a message, but does not confirm it", self.name, made.to_agent)
            return made.message_id
        if failure := _failure(incoming):
            raise failure.error()
        return made.message_id

    async def hand_over(self, to: str, content: Any, metadata: dict[str, Any] | None) -> str:
        made = handoff.record(self.name, to, content_of(content), stamp.fresh(), metadata=metadata)
        return await handoff.hand_over(self.post, made, self.tell)

    async def broadcast(self, content: Any, metadata: dict[str, Any] | None, priority: int) -> str:
        made = envelope.broadcast(self.name, content_of(content), stamp.fresh(), metadata=metadata, priority=_checked(priority))
        await self.bus.publish(subjects.ALL, envelope.encode(made))
        return made.message_id

    async def discover(self, wait: float) -> list[Peer]:
        """Ask who is there, and put it together with what was heard."""
        if self.bus.is_connected:
            found = await micro.discover(self.bus, wait, inbox=self._inbox)
            for info in found:
                if info.id != self._micro.id:
                    info.tell(self.peers, now_ns())
                    self._pings.answered(info.instance)
            await self._pings.sift(set(self.peers.instances()) - {info.instance for info in found})
        return self.peers.all(now_ns())

    async def _exchange(self, subject: str, made: Envelope, timeout: float) -> Incoming:
        try:
            return await self.bus.request(subject, envelope.encode(made), timeout)
        except UnknownAgent as error:
            names = {peer.name for peer in self.peers.all(now_ns())} - {made.to_agent}
            raise UnknownAgent(f"{error.message}{did_you_mean(made.to_agent or '', names)}") from None


def _failure(confirmation: Incoming) -> Failure | None:
    """Why a message was refused; a listener that answers something else than an envelope has it all the same."""
    try:
        answer = envelope.decode(confirmation.payload, limit=ENVELOPE_BYTES)
        return envelope.failure(answer) if answer.message_type == "error" else None
    except BadMessage:
        return None


def _is_our_end(problem: BaseException) -> bool:
    """Whether it ends this process or task; anything else is what a handler raised, whatever it may be."""
    task = asyncio.current_task()
    cancelled = isinstance(problem, asyncio.CancelledError) and task is not None and task.cancelling() > 0
    return cancelled or isinstance(problem, KeyboardInterrupt)


def _deadline(read: Envelope, now: int) -> int | None:
    timeout = read.metadata.get("timeout")
    return now + int(timeout * SECOND_NS) if isinstance(timeout, int | float) and 0 < timeout < 10**6 else None


def _checked(priority: int) -> int:
    if type(priority) is not int or not 1 <= priority <= 5:
        raise BadMessage(f"priority is {priority!r}; write 1 (urgent) to 5.", field="priority")
    return priority
