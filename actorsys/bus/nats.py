"""The bus over NATS: how does it stay up?

One task owns the connection: connect, replay the subscriptions and what waited in the outbox, watch, and start again when the
connection is gone, whatever the reason. Subscriptions, open requests and the outbox are ours and outlive every client.

    what happens                    what we do
    server absent or lost           try again for ever: 0.1 s doubling to `reconnect_max`, with jitter
    silent (half-open)              no PONG within `ping_timeout`: the client is discarded, then as above
    login refused                   the same, slower (1 s to `refused_max`), and `reason` says so
    permission refused              counted, logged once; a subscribe or request it belongs to fails with ConfigError; one that was
                                    taken away from a subscription is asked for again with each ping
    message that cannot be read     dropped and counted; the next one is read
    lame duck, renewed credentials  what the server has for us is taken first, what we publish waits: a move in good order
    server closes us with an error  the same as lost; a connection that does not last 5 s does not reset the backoff
"""

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from ..errors import BadMessage, ConfigError, Unreachable
from .asks import Asks, too_late
from .base import MAX_BYTES, MAX_MESSAGES, BusStats, Handler, Incoming, State
from .counters import Counters
from .inbound import Inbound, Inbounds
from .nats_attach import Attachments
from .nats_link import Link
from .nats_options import NatsOptions
from .outgoing import Letter, Outbox, check_headers, check_size, to_json
from .subjects import check_pattern, check_subject

if TYPE_CHECKING:
    from nats.aio.subscription import Subscription

    from .nats_client import Connection

AGAIN, AGAIN_MAX = 0.25, 0.5  # seconds


class NatsBus:
    """A `Bus` with its own NATS connection, named `name` in the server's list of connections.

    >>> bus = NatsBus(NatsOptions.parse("nats://127.0.0.1:4222"), name="counter")
    >>> bus.state, bus.is_connected
    ('off', False)

    `inbox_prefix` is where answers arrive; one for each agent lets permissions keep others from reading them.
    """

    def __init__(self, options: NatsOptions, *, name: str = "actorsys", inbox_prefix: str = "_INBOX") -> None:
        self._options = options.check()
        self._counters = Counters(name)
        self._asks = Asks(check_subject(inbox_prefix))
        self._outbox = Outbox(options.outbox_bytes)
        self._subscriptions = Inbounds()
        self._attachments = Attachments(self._subscriptions, self._counters, self._options)
        self._is_adopting = False
        self._inbox: Subscription | None = None
        self._is_inbox_refused = False
        self._link = Link(
            self._options,
            self._counters,
            name=name,
            inbox_prefix=inbox_prefix,
            adopt=self._adopt,
            retire=self._attachments.retire,
            deny=self._deny,
            is_refused=self._is_refused,
            ask_again=self._ask_again,
        )

    async def start(self) -> None:
        self._link.start()

    async def __aenter__(self) -> "NatsBus":
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        await self.close()

    @property
    def state(self) -> State:
        return self._link.state

    def watch(self, on_state: Callable[[State], None]) -> None:
        """Call `on_state` with each new state from now on."""
        self._link.on_state = on_state

    @property
    def reason(self) -> str:
        return self._link.reason

    @property
    def is_connected(self) -> bool:
        client = self._link.client
        return client is not None and client.is_connected

    @property
    def connects(self) -> int:
        """How often it was connected so far."""
        return self._counters.connects

    @property
    def reconnect_max(self) -> float:
        """The longest wait, in seconds, between two tries to connect."""
        return self._options.reconnect_max

    @property
    def client(self) -> "Connection":
        """The nats-py client of this moment, for JetStream; raises Unreachable. Do not keep it: it ends with its connection."""
        client = self._link.client
        if client is None:
            raise self._link.unreachable()
        return client

    async def wait_connected(self, timeout: float) -> None:
        await self._link.wait_connected(timeout)

    def stats(self) -> BusStats:
        refused = sum(bool(inbound.refused) for inbound in self._subscriptions) + self._is_inbox_refused
        return self._counters.snapshot(buffered=len(self._outbox), subscriptions=len(self._subscriptions), refused=refused)

    async def publish(
        self, subject: str, payload: bytes, *, reply: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        check_subject(subject)
        if reply:
            check_subject(reply)
        checked = check_headers(headers) if headers else None
        link = self._link
        if checked or len(payload) > link.max_payload:
            check_size(payload, checked, link.max_payload)
        client = link.client
        if client is not None and client.is_connected:
            counters = self._counters
            counters.out_messages += 1
            counters.out_bytes += len(payload)
            await client.send(subject, payload, reply or "", checked)
            return
        self._link.notice_loss()
        if self._link.state == "off":
            raise self._link.unreachable()
        self._outbox.put(Letter(subject, payload, reply or "", checked), self._link.reason)

    async def publish_json(
        self, subject: str, value: Any, *, reply: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        await self.publish(subject, to_json(value), reply=reply, headers=headers)

    async def request(
        self,
        subject: str,
        payload: bytes,
        timeout: float,
        *,
        headers: Mapping[str, str] | None = None,
        again: Callable[[], bool | None] | None = None,
    ) -> Incoming:
        """As `Bus.request`; sent again after 0.25 s, then each 0.5 s, for who tells repetitions apart, whenever `again` says so.

        When it says None it is not asked any more.
        """
        check_subject(subject)
        checked = check_headers(headers) if headers else None
        check_size(payload, checked, self._link.max_payload)
        reply, answer = self._asks.open(subject)
        try:
            async with asyncio.timeout(timeout):
                if self._is_adopting or self._link.is_moving:  # a matter of milliseconds
                    await self._link.wait_connected(timeout)
                client = self._link.client
                if client is None or not client.is_connected:
                    self._link.notice_loss()
                    raise self._link.unreachable()
                await self._send(client, subject, payload, reply, checked)
                client.hurry()
                wait = AGAIN
                while again is not None:
                    await asyncio.wait((answer,), timeout=wait)
                    if answer.done() or (is_due := again()) is None:
                        break
                    if is_due and self._link.client is not None and self._link.client.is_connected:
                        await self._send(self._link.client, subject, payload, reply, checked)
                    wait = min(2 * wait, AGAIN_MAX)
                return await answer
        except TimeoutError:
            raise too_late(subject, timeout) from None
        finally:
            self._asks.forget(reply)

    async def subscribe(
        self,
        subject: str,
        handler: Handler,
        *,
        queue: str = "",
        max_messages: int = MAX_MESSAGES,
        max_bytes: int = MAX_BYTES,
        concurrency: int = 1,
        on_full: Handler | None = None,
    ) -> Inbound:
        check_pattern(subject)
        if queue:
            check_subject(queue)
        if self._link.state == "off":
            raise self._link.unreachable()
        limits = {"max_messages": max_messages, "max_bytes": max_bytes, "concurrency": concurrency}
        inbound = Inbound(subject, handler, self._counters, self._attachments.leave, queue=queue, on_full=on_full, **limits)
        self._subscriptions.add(inbound)
        client = self._link.client
        if client is None:
            return inbound
        try:
            await self._attachments.add(client, inbound)
            await self._link.ping(self._options.connect_timeout)
        except BaseException as error:
            # A connection that breaks now is replaced, and the next one is told of this subscription as of all others.
            if not isinstance(error, Exception):
                await inbound.unsubscribe()
                raise
        if inbound.refused:
            await inbound.unsubscribe()
            raise ConfigError(inbound.refused, where="nats")
        return inbound

    async def push(self) -> None:
        """Return when what was published is with the kernel, where the death of this process does not undo it, or cannot be now."""
        client = self._link.client
        if client is not None and client.is_connected:
            await client.push()

    async def flush(self, timeout: float = 5.0) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._link.wait_connected(timeout)
                await self._link.ping(timeout)
        except OSError as error:  # a TimeoutError is one
            raise error if isinstance(error, Unreachable) else self._link.unreachable() from None

    async def drain(self, timeout: float = 5.0) -> None:
        try:
            async with asyncio.timeout(timeout):
                await asyncio.gather(*(inbound.drain(timeout) for inbound in self._subscriptions))
                if self._link.client is not None:
                    await self.flush(timeout)
        except (TimeoutError, Unreachable):
            self._counters.warn("drain", "the connection could not be drained in %g s", timeout)
        finally:
            await self.close()

    async def close(self) -> None:
        await self._link.close()
        self._asks.fail(self._link.unreachable())
        await self._subscriptions.close()
        self._attachments.clear()
        if unsent := self._outbox.clear():
            self._counters.unsent += unsent
            self._counters.warn("unsent", "%d messages never found a connection", unsent)

    async def _send(self, client: "Connection", subject: str, payload: bytes, reply: str, headers: dict[str, str] | None) -> None:
        self._counters.out_messages += 1
        self._counters.out_bytes += len(payload)
        await client.send(subject, payload, reply, headers)

    async def _adopt(self, client: "Connection") -> None:
        """Make a new connection usable: our inbox, the subscriptions, then what waited, in order."""
        self._attachments.clear()
        self._is_inbox_refused = False
        self._is_adopting = True
        try:
            self._inbox = await client.listen(self._asks.inbox, "", self._asks.deliver)
            await self._attachments.add_all(client)
            await client.ping(self._options.connect_timeout * 2)
            while len(self._outbox) or not self._attachments.is_complete:
                await self._attachments.add_all(client)
                if len(self._outbox):
                    await self._send_first(client)
        finally:
            self._is_adopting = False

    async def _send_first(self, client: "Connection") -> None:
        letter = self._outbox.first()
        try:
            check_size(letter.payload, letter.headers, client.max_payload)
        except BadMessage as error:
            self._counters.unsent += 1
            self._counters.warn("too large", "a message on %s that waited was not sent: %s", letter.subject, error)
        else:
            if not client.is_connected:
                raise ConnectionError("the connection broke while sending what waited")
            await self._send(client, letter.subject, letter.payload, letter.reply, letter.headers)
        self._outbox.drop_first()

    def _is_refused(self) -> bool:
        """Whether the server refuses any of our subscriptions."""
        return self._is_inbox_refused or any(inbound.refused for inbound in self._subscriptions)

    async def _ask_again(self, client: "Connection") -> None:
        """Ask once more for what the server does not permit."""
        if self._is_inbox_refused and self._inbox is not None:
            self._is_inbox_refused = False
            await client.listen_again(self._inbox)
        await self._attachments.ask_again(client)

    def _deny(self, kind: str, subject: str) -> None:
        """The server refused a subject, spelt in lower case."""
        text = f"NATS does not permit these credentials to {'publish' if kind == 'publish' else 'subscribe'} on {subject!r}."
        if kind == "publish":
            self._asks.fail(ConfigError(text, where="nats"), subject)
            return
        for inbound in self._subscriptions:
            if inbound.subject.lower() == subject:
                inbound.refused = text
        if subject == self._asks.inbox.lower():
            self._is_inbox_refused = True
            self._counters.warn("inbox", "requests cannot be answered: no permission to subscribe to %s", self._asks.inbox)
