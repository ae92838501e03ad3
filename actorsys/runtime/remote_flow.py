"""How do the parts of an answer leave for another node? On the agent's own connection; the wire format is in `comms.streams`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any

import msgspec

from ..bus.base import Incoming, Subscription
from ..bus.nats import NatsBus
from ..comms import translate
from ..comms.post import Post
from ..comms.streams import ALIVE, STREAM, Control
from ..errors import AskTimeout, BadMessage
from ..mailbox.codec import decode
from ..mailbox.letter import STREAM_WINDOW, Letter
from ..units import format_seconds
from .context import Delivery
from .flow import Flow
from .sending import Sending

CREDIT_WAIT = 3 * ALIVE  # seconds in which a reader says that it is there
_decode = msgspec.json.Decoder(Control).decode


class RemoteFlow(Flow):
    """To a reader on NATS."""

    def __init__(self, delivery: Delivery, outflows: "Outflows") -> None:
        super().__init__(delivery)
        letter = delivery.letter
        assert letter.headers is not None
        self._outflows = outflows
        self._headers = letter.headers
        self._asked = translate.envelope_of(letter)
        self._control = {"control": outflows.subject(letter.id), "window": STREAM_WINDOW}
        wanted = self._headers["metadata"].get(STREAM)
        to = wanted.get("to") if isinstance(wanted, dict) else None
        self._to = to if isinstance(to, str) and to.startswith("_INBOX") else self._headers["reply"]
        self._heard = 0.0  # when the reader last said something, by the loop's clock
        self._patience = asyncio.timeout(None)

    async def begin(self) -> None:
        await self._outflows.listen(self.delivery.letter.id, self)
        await self._say(None, self._control)
        self._headers["reply"] = self._to  # of an error, too

    async def leave(self, payload: bytes, units: int) -> None:
        said = {"seq": self.count - 1, "cost": units}
        if not await self._say(decode(payload), said if self.count > 1 else {**said, **self._control}):
            raise BadMessage("a part of the stream cannot be sent: it has no JSON form, is too large for NATS, or NATS is lost")

    async def end(self) -> None:
        await self._say(None, {"end": True, "seq": self.count})
        await self._outflows.ended(self.delivery)

    def close(self) -> None:
        self._outflows.left(self.delivery.letter.id)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        self._heard = asyncio.get_running_loop().time()
        try:
            async with self._patience:
                watching = asyncio.create_task(self._watch())
                try:
                    yield
                finally:
                    watching.cancel()
        except TimeoutError:
            if not self._patience.expired():  # the handler's own
                raise
            raise self._silent() from None

    async def put(self, payload: bytes) -> None:
        if self._patience.expired():  # and the handler has swallowed it
            raise self._silent()
        await super().put(payload)

    def granted(self, units: int) -> None:
        self._heard = asyncio.get_running_loop().time()
        super().granted(units)

    async def _watch(self) -> None:
        """End the handler, slow as it may be, when its reader says nothing any more."""
        time = asyncio.get_running_loop().time
        while time() - self._heard < CREDIT_WAIT:
            await asyncio.sleep(CREDIT_WAIT / 3)
            if not self._outflows.is_connected:
                self._heard = time()  # nobody can say anything
        self._patience.reschedule(time())

    def _silent(self) -> AskTimeout:
        return AskTimeout(
            f"the reader of the stream gave no credit for {format_seconds(CREDIT_WAIT)}: it has gone, or sends no "
            f'{{"credit": units}} to {self._control["control"]!r}, as docs/nats.md says.'
        )

    def _say(self, content: Any, stream: dict[str, Any]) -> Any:
        return self._outflows.post.respond(self._headers["reply"], self._asked, content, metadata={STREAM: stream})


class Outflows:
    """All streams that this agent sends to other nodes, and what their readers say.

    `ready` waits for the first connection, `cancel` stops the handler of a letter, `count` counts one that has ended.
    """

    def __init__(
        self,
        bus: NatsBus,
        post: Post,
        inbox: str,
        *,
        ready: Callable[[], Awaitable[None]],
        cancel: Callable[[int], None],
        count: Callable[[Letter], None],
    ) -> None:
        self.post = post
        self._bus = bus
        self._inbox = f"{inbox}.{token_hex(8)}"
        self._ready = ready
        self._cancel = cancel
        self._count = count
        self._open: dict[str, tuple[int, RemoteFlow]] = {}
        self._listening = asyncio.Lock()
        self._subscription: Subscription | None = None

    def make(self, delivery: Delivery, sending: Sending) -> RemoteFlow:
        return RemoteFlow(delivery, self)

    def subject(self, number: int) -> str:
        """Where the reader of the stream that answers that letter says what it has read."""
        return f"{self._inbox}.{number}"

    async def listen(self, number: int, flow: RemoteFlow) -> None:
        """Hear the reader from now on."""
        self._open[self.subject(number)] = number, flow
        await self._ready()
        async with self._listening:
            if self._subscription is None:
                self._subscription = await self._bus.subscribe(f"{self._inbox}.*", self._heard)

    @property
    def is_connected(self) -> bool:
        return self._bus.is_connected

    def left(self, number: int) -> None:
        self._open.pop(self.subject(number), None)

    async def ended(self, delivery: Delivery) -> None:
        """The end was said: on return it has left this process."""
        self._count(delivery.letter)
        await self._bus.push()

    def _heard(self, incoming: Incoming) -> None:
        number, flow = self._open.get(incoming.subject, (0, None))
        if flow is None:
            return
        try:
            said = _decode(incoming.payload)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self.post.warn("control", "what came to a stream's control subject is refused: %s", error)
            return
        if said.close:
            self._cancel(number)
        else:
            flow.granted(max(0, said.credit))
