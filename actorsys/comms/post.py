"""How does a peer that sent something wrong hear of it? Envelopes in and out of a bus, under one name."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

import msgspec

from ..bus import envelope, stamp
from ..bus.base import Bus, Incoming
from ..bus.counters import Often
from ..bus.envelope import Envelope, Origin
from ..errors import ActorError, AskTimeout, BadMessage, MailboxFull, UnknownAgent, Unreachable
from ..messages import Event, Failure, Message, Request

log = logging.getLogger("actorsys.comms")

ENVELOPE_BYTES = 2**20  # the usual limit of a server's payload
CHEAP_BYTES = 2**14  # of an envelope that is read where there are too many
CONFIRM = 0.3  # seconds in which an agent says that it has a completion
WAITS = b"waits"  # instead of nothing in a confirmation: not in custody yet, said each second until it is
AGAIN = (0.01, 0.04, 0.15, 0.3, 1.0)  # seconds between the tries when nobody listens


class Post:
    """Reads what arrives, and answers; nothing that a peer sends, and no lost connection, makes these raise."""

    def __init__(self, bus: Bus, name: str) -> None:
        self.bus = bus
        self.name = name
        self.malformed = 0
        self._each_second = Often(1.0)

    async def read(self, incoming: Incoming) -> Envelope | None:
        """The envelope in a NATS message; None for one that holds none, after its sender was told, if it left a reply subject."""
        try:
            return self.decode(incoming)
        except BadMessage as error:
            await self.complain(incoming, error)
            return None

    def decode(self, incoming: Incoming) -> Envelope:
        """The envelope in a NATS message. Raises BadMessage, of which `complain` tells the sender."""
        return envelope.decode(incoming.payload, limit=ENVELOPE_BYTES)

    async def complain(self, incoming: Incoming, error: BadMessage) -> None:
        self.malformed += 1
        self.warn(incoming.subject, "a message on %s was refused: %s", incoming.subject, error)
        if incoming.reply:
            await self.refuse(incoming.reply, envelope.origin(incoming.payload, limit=ENVELOPE_BYTES), error)

    def full(self, incoming: Incoming, origin: Origin | None = None) -> Awaitable[None] | None:
        """Refuse what finds no room in a subscription, if anybody hears it. Of a large one not even the sender is read."""
        if not incoming.reply:
            return None
        error = MailboxFull(
            f"{self.name!r} has as many messages on NATS that wait as it can hold; try again later, or send less."
        )
        return self.refuse(incoming.reply, origin or origin_of(incoming), error)

    async def confirm(self, read: Envelope, how: bytes = b"") -> None:
        """Say that a message is here, to whoever would send it again otherwise."""
        if isinstance(where := read.metadata.get("confirm"), str) and where.startswith("_INBOX"):
            with suppress(ActorError):  # then it is sent again, and known to be here
                await self.bus.publish(where, how)

    async def respond(
        self,
        reply: str,
        asked: Envelope | Origin,
        content: Any,
        *,
        metadata: dict[str, Any] | None = None,
        insist: bool = False,
    ) -> bool:
        """Publish the answer to an envelope; an error instead, and false, when it has no JSON form or is too large. See `_insist`."""
        if not reply:
            return True
        try:
            data = envelope.encode(envelope.response(asked, content, stamp.fresh(), sender=self.name, metadata=metadata))
            await (self._insist(reply, data) if insist else self.bus.publish(reply, data))
        except BadMessage as error:
            await self.refuse(reply, asked, error, metadata=metadata, insist=insist)
            return False
        except ActorError as error:
            self.warn(reply, "an answer was lost: %s", error)
            return False
        return True

    async def refuse(
        self,
        reply: str,
        to: Envelope | Origin | None,
        error: BaseException,
        *,
        metadata: dict[str, Any] | None = None,
        insist: bool = False,
    ) -> None:
        """Publish an error envelope; the traceback goes along when it is the handler's."""
        if not reply:
            return
        failure = error_of(error)
        made = envelope.error(to, failure, stamp.fresh(), sender=self.name)
        if metadata:
            made = msgspec.structs.replace(made, metadata=metadata)
        try:
            data = envelope.encode(made)
            await (self._insist(reply, data) if insist else self.bus.publish(reply, data))
        except ActorError as problem:
            self.warn(reply, "an error reply was lost: %s", problem)

    async def _insist(self, subject: str, data: bytes) -> None:
        """Publish again until it is confirmed, a few times: an agent that dies just now may not have taken it."""
        for wait in AGAIN if self.bus.is_connected else ():
            try:
                await self.bus.request(subject, data, CONFIRM)
                return
            except UnknownAgent:
                await asyncio.sleep(wait)
            except AskTimeout:
                pass
            except Unreachable:
                break
        await self.bus.publish(subject, data)

    def warn(self, key: str, text: str, *args: object) -> None:
        """At most one warning per key and second, with the number of those left out."""
        held = self._each_second.hold(key)
        if held is not None:
            log.warning("%s: %s%s", self.name, text % args, f" ({held} more like this)" if held else "")


def origin_of(incoming: Incoming) -> Origin:
    """Who sent a message, and under which id, if that is cheap to tell."""
    return envelope.origin(incoming.payload, limit=CHEAP_BYTES)


def error_of(error: BaseException) -> Failure:
    """An exception as it travels: with the traceback of somebody's handler, without that of our own checks."""
    return Failure.of(error, with_traceback=not isinstance(error, ActorError))


def message_of(read: Envelope, to: str) -> Message:
    """An envelope as a handler sees it."""
    content = read.content
    kind = content.get("type") if isinstance(content, dict) else None
    return Message(
        id=read.message_id,
        sender=read.from_agent,
        to=read.to_agent or to,
        type=kind if isinstance(kind, str) else "",
        payload=content,
        metadata=read.metadata,
        timestamp=read.timestamp,
        in_reply_to=read.in_reply_to,
        priority=read.priority,
    )


def content_of(value: Any) -> Any:
    """What to send for a value: a typed message says its type, anything else stays as it is.

    >>> class Add(Request[int]):
    ...     n: int
    >>> content_of(Add(2)), content_of("hello")
    ({'type': 'Add', 'n': 2}, 'hello')
    """
    if isinstance(value, Event | Request):
        return {"type": type(value).__name__, **msgspec.structs.asdict(value)}
    return value
