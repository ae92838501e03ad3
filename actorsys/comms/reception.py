"""What arrives on NATS for one agent goes into its mailbox first, and is answered by whoever handles it.

The agent itself receives so, on its own connection; while it has none its supervisor stands in with the same code. They differ only in
how a letter gets into custody: `accept` returns once it is there, or raises why it is not.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from ..bus import subjects
from ..bus.base import Bus, Incoming, Subscription
from ..clock import now_ns
from ..errors import ActorError
from ..mailbox.letter import Letter
from . import handoff, translate
from .post import Post

CONCURRENCY = 64  # messages that wait for custody at once; each is posted in order before it waits


class Reception:
    """`name` is what others address, `to` the mailbox, `run` the id of this life of the node."""

    def __init__(self, bus: Bus, *, name: str, to: str, run: str, accept: Callable[[Letter], Awaitable[None]]) -> None:
        self._bus = bus
        self._post = Post(bus, name)
        self._to = to
        self._run = run
        self._accept = accept
        self._subscriptions: list[Subscription] = []

    async def open(self) -> None:
        """Take mail from now on, or from the moment on that there is a connection."""
        name, queue = self._post.name, subjects.queue(self._post.name)
        both = ((subjects.direct(name), self._direct), (subjects.request(name), self._request))
        self._subscriptions += await asyncio.gather(
            *(self._bus.subscribe(subject, handler, queue=queue, concurrency=CONCURRENCY) for subject, handler in both)
        )

    async def close(self, timeout: float = 1.0) -> None:
        """Take no more; what has arrived is accepted first, within `timeout` seconds."""
        subscriptions, self._subscriptions = self._subscriptions, []
        await asyncio.gather(*(subscription.drain(timeout) for subscription in subscriptions))

    async def _direct(self, incoming: Incoming) -> None:
        await self._receive(incoming, "direct")

    async def _request(self, incoming: Incoming) -> None:
        await self._receive(incoming, "request")

    async def _receive(self, incoming: Incoming, kind: translate.Kind) -> None:
        read = await self._post.read(incoming)
        if read is None:
            return
        if kind == "direct" and handoff.is_notice(read):
            kind = "notice"
        try:
            await self._accept(translate.letter(read, kind, incoming.reply, self._to, run=self._run, now=now_ns()))
        except ActorError as error:
            await self._post.refuse(incoming.reply, read, error)
            return
        if kind != "request":
            await self._post.respond(incoming.reply, read, None)
        elif isinstance(confirm := read.metadata.get("confirm"), str) and confirm.startswith("_INBOX"):
            with suppress(ActorError):  # whoever asked sends it again then, and it is known to be here
                await self._bus.publish(confirm, b"")
