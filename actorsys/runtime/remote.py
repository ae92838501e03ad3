"""The agent's own NATS connection: what arrives on it goes into its mailbox first, and is answered by whoever handles it."""

import logging
from typing import Any
from uuid import uuid4

from msgspec import convert

from ..bus import envelope, subjects
from ..bus.base import Incoming
from ..bus.envelope import Envelope, Stamp
from ..bus.nats import NatsBus
from ..bus.nats_options import NatsOptions
from ..clock import wall
from ..errors import ActorError, BadMessage
from ..mailbox.codec import decode, encode
from ..mailbox.letter import REMOTE, TELL, Bus, Frame, Letter
from ..messages import Failure
from ..names import token
from .loop import Runtime

ENVELOPE_BYTES = 2**20  # the usual limit of a server's payload
CONCURRENCY = 64  # messages that wait for custody at once; each is posted in order before it waits


class Remote:
    """Opened once the agent is ready; never blocks it, and never fails because there is no server."""

    def __init__(self, runtime: Runtime, options: dict[str, Any]) -> None:
        self._runtime = runtime
        self._log = logging.getLogger(runtime.name)
        self.bus = NatsBus(
            convert(options, NatsOptions),
            name=f"agent {runtime.name}",
            inbox_prefix=f"_INBOX_{token(runtime.name).replace('/', '-')}",
        )
        self.bus.watch(self._changed)

    async def start(self) -> None:
        name = self._runtime.name
        await self.bus.start()
        queue = subjects.queue(name)
        await self.bus.subscribe(subjects.direct(name), self._direct, queue=queue, concurrency=CONCURRENCY)
        await self.bus.subscribe(subjects.request(name), self._request, queue=queue, concurrency=CONCURRENCY)

    async def close(self, timeout: float) -> None:
        """Take nothing more, send what waits, within `timeout` seconds."""
        await self.bus.drain(timeout)

    async def answer(self, letter: Letter, result: Any, failure: Failure | None) -> None:
        """A handler is done with a letter that came over NATS: publish its answer, if one is wanted."""
        headers = letter.headers or {}
        if not headers.get("reply") or headers["kind"] != "request":
            return
        asked = _envelope(letter, headers)
        if failure is None:
            try:
                await self._publish(
                    headers["reply"], envelope.response(asked, decode(encode(result)), _stamp(), sender=self._sender)
                )
                return
            except BadMessage as error:
                failure = Failure.of(error, with_traceback=False)
        await self._publish(headers["reply"], envelope.error(asked, failure, _stamp(), sender=self._sender))

    @property
    def _sender(self) -> str:
        return self._runtime.name

    async def _publish(self, subject: str, reply: Envelope) -> None:
        try:
            await self.bus.publish(subject, envelope.encode(reply))
        except ActorError as error:
            self._log.warning("an answer over NATS was lost: %s", error)

    async def _request(self, incoming: Incoming) -> None:
        await self._receive(incoming, "request")

    async def _direct(self, incoming: Incoming) -> None:
        await self._receive(incoming, "direct")

    async def _receive(self, incoming: Incoming, kind: str) -> None:
        try:
            read = envelope.decode(incoming.payload, limit=ENVELOPE_BYTES)
        except BadMessage as error:
            self._log.warning("NATS, %s: %s", incoming.subject, error)
            if incoming.reply:
                sender = envelope.origin(incoming.payload, limit=ENVELOPE_BYTES)
                failure = Failure.of(error, with_traceback=False)
                await self._publish(incoming.reply, envelope.error(sender, failure, _stamp(), sender=self._sender))
            return
        headers = {
            "kind": kind,
            "reply": incoming.reply,
            "message_type": read.message_type,
            "message_id": read.message_id,
            "timestamp": read.timestamp,
            "metadata": read.metadata,
            "in_reply_to": read.in_reply_to,
        }
        runtime = self._runtime
        try:
            await runtime.wait_room(runtime.assignment.name)
            letter = Letter(TELL, 0, runtime.assignment.name, read.from_agent, "", encode(read.content), read.priority, 0, REMOTE)
            letter.headers = headers
            runtime.post(letter)
            await runtime.custody()
        except ActorError as error:
            if incoming.reply:
                failure = Failure.of(error, with_traceback=False)
                await self._publish(incoming.reply, envelope.error(read, failure, _stamp(), sender=self._sender))
            return
        if kind == "direct" and incoming.reply:
            await self._publish(incoming.reply, envelope.response(read, None, _stamp(), sender=self._sender))

    def _changed(self, state: str) -> None:
        self._runtime.pipe.send(Frame(notes=[Bus(state)]))


def _stamp() -> Stamp:
    return Stamp(str(uuid4()), wall())


def _envelope(letter: Letter, headers: dict[str, Any]) -> Envelope:
    return Envelope(
        message_type=headers["message_type"],
        from_agent=letter.sender,
        to_agent=letter.to,
        content=None,
        metadata=headers["metadata"],
        timestamp=headers["timestamp"],
        message_id=headers["message_id"],
        in_reply_to=headers["in_reply_to"],
        priority=letter.priority,
    )
