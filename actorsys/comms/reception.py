"""What arrives on NATS for one agent goes into its mailbox first, and is answered by whoever handles it.

The agent itself receives so, on its own connection; while it has none its supervisor stands in with the same code. They differ in
the outbox by which they reach custody, and in what they do with a full mailbox. The agent waits for room, then posts, as any sender
does. Who stands in posts at once and waits then: what waited here would be overtaken by what the agent posts once it is back.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress

from ..bus import subjects
from ..bus.base import Bus, Incoming, Subscription
from ..bus.envelope import Envelope
from ..clock import now_ns
from ..errors import ActorError, BadMessage, MailboxFull
from ..mailbox.letter import Letter, Withdraw
from ..mailbox.outbox import MAX_TIMEOUT, ROOM_TIMEOUT, Outbox
from . import handoff, translate
from .post import WAITS, Post, origin_of

CONCURRENCY = 64  # messages that wait for custody at once; each is posted in order before it waits
LINE = 1500  # on each subject that are not in custody yet, or wait for room; more are refused at once
SAY = 1.0  # seconds between two words that a message waits here


class Reception:
    """`name` is what others address, `to` the mailbox, `run` the id of this life of the node."""

    def __init__(self, bus: Bus, outbox: Outbox, *, name: str, to: str, run: str, stands_in: bool = False) -> None:
        self._bus = bus
        self._post = Post(bus, name)
        self._to = to
        self._run = run
        self._outbox = outbox
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._in_line = asyncio.Lock()  # letters are posted in the order in which they came, also those that wait for room
        self._stands_in = stands_in
        self._here: set[str] = set()  # ids of those in line
        self._until_room: set[asyncio.Timeout] = set()  # of letters in custody whose senders are to wait, too
        self._is_closing = False
        self._behind = 0  # letters that wait to be posted
        self._ahead = 0  # posted since the last of which we know that it is in custody
        self._subscriptions: list[Subscription] = []

    async def open(self) -> None:
        """Take mail from now on, or from the moment on that there is a connection. `close` also after it has failed."""
        self._is_closing = False
        name, queue = self._post.name, subjects.queue(self._post.name)
        both = ((subjects.direct(name), self._direct), (subjects.request(name), self._request))
        made = await asyncio.gather(
            *(
                self._bus.subscribe(subject, handler, queue=queue, max_messages=LINE, concurrency=LINE, on_full=self._full)
                for subject, handler in both
            ),
            return_exceptions=True,
        )
        for each in made:
            if not isinstance(each, BaseException):
                self._subscriptions.append(each)
        for each in made:
            if isinstance(each, BaseException):
                raise each

    async def close(self, timeout: float = 1.0) -> None:
        """Take no more; what has arrived is accepted first, within `timeout` seconds."""
        self._is_closing = True
        until_room, self._until_room = self._until_room, set()
        for waiting in until_room:
            waiting.reschedule(0.0)
        subscriptions, self._subscriptions = self._subscriptions, []
        await asyncio.gather(*(subscription.drain(timeout) for subscription in subscriptions))

    def _direct(self, incoming: Incoming) -> Awaitable[None] | None:
        return self._receive(incoming, "direct")

    def _request(self, incoming: Incoming) -> Awaitable[None] | None:
        return self._receive(incoming, "request")

    def _receive(self, incoming: Incoming, kind: translate.Kind) -> Awaitable[None] | None:
        try:
            read = self._post.decode(incoming)
        except BadMessage as error:
            return self._post.complain(incoming, error)
        if kind == "direct" and handoff.is_notice(read):
            if handoff.is_cancel(read):
                self._outbox.note(Withdraw(self._post.name, read.in_reply_to or "", read.from_agent))
                return None
            kind, read = "notice", handoff.with_outcome(read)
        try:
            letter = translate.letter(read, kind, incoming.reply, self._to, run=self._run, now=now_ns())
            if kind == "request" and "confirm" not in read.metadata and self._is_clear(letter):
                # It is handled only out of custody, and its answer is all that anyone waits for. What comes in one turn shares a frame.
                self._outbox.post(letter)
                self._ahead += 1
                return None
        except ActorError as error:
            return self._post.refuse(incoming.reply, read, error)
        return self._accept(letter, read, kind, incoming.reply)

    def _full(self, incoming: Incoming) -> Awaitable[None] | None:
        origin = origin_of(incoming)
        if origin.message_id in self._here:
            return None  # sent again: the first will be answered
        return self._post.full(incoming, origin)

    def _is_clear(self, letter: Letter) -> bool:
        return not self._behind and self._ahead < CONCURRENCY and self._outbox.has_room(letter.to)

    async def _accept(self, letter: Letter, read: Envelope, kind: translate.Kind, reply: str) -> None:
        """Post a letter when there is room, and say so once it is in custody."""
        outbox, began = self._outbox, asyncio.get_running_loop().time()
        must_wait = not outbox.has_room(letter.to)
        holding = asyncio.get_running_loop().create_task(self._hold(read)) if must_wait and "confirm" in read.metadata else None
        self._behind += 1
        self._here.add(read.message_id)
        try:
            try:
                async with self._in_line:
                    if not self._stands_in or outbox.rejects(letter.to):
                        await outbox.wait_room(letter.to, ROOM_TIMEOUT, began=began)
                    await self._slots.acquire()
            finally:
                self._behind -= 1
            try:
                if (accepted := outbox.send(letter)) is not None:
                    await accepted
            finally:
                self._slots.release()
            self._ahead = 0
            if self._stands_in and must_wait and not self._is_closing:
                await self._wait_room()
        except ActorError as error:
            await self._post.refuse(reply, read, error)
            return
        finally:
            self._here.discard(read.message_id)
            if holding is not None:
                holding.cancel()
        if kind != "request":
            await self._post.respond(reply, read, None)
        else:
            await self._post.confirm(read)

    async def _wait_room(self) -> None:
        """Until there is room, or the agent is back to say when there is."""
        with suppress(TimeoutError, MailboxFull):
            async with asyncio.timeout(None) as waiting:
                self._until_room.add(waiting)
                try:
                    await self._outbox.wait_room(self._to, MAX_TIMEOUT)
                finally:
                    self._until_room.discard(waiting)

    async def _hold(self, read: Envelope) -> None:
        """Until it is cancelled: say that a message is here, so that it is sent again only if this process dies with it."""
        while True:
            await self._post.confirm(read, WAITS)
            await asyncio.sleep(SAY)
