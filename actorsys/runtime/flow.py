"""How do the parts of a streamed answer leave? As the handler yields them, while there is credit; without, it waits at its `yield`.

A part joins what the handler sends, in its order. So parts of a handler that never waits leave together when the credit is used up, when
they are large, or when a moment has passed.
"""

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from typing import Any

from msgspec import Struct

from ..errors import BadMessage
from ..mailbox.codec import encode
from ..mailbox.letter import PART, STREAM_WINDOW, Letter, weight
from .context import Delivery
from .routes import Route
from .sending import Sending

TURN_SECONDS = 0.005  # a handler that yields without waiting lets the loop turn this often


class Flow(ABC):
    """The sending end of one stream."""

    def __init__(self, delivery: Delivery) -> None:
        self.count = 0  # parts so far
        self.delivery = delivery
        self._under_way = 0  # units that have left and were not read yet
        self._credit: asyncio.Future[None] | None = None
        self._turned = time.monotonic()

    async def begin(self) -> None:  # noqa: B027 - on one node the first part says it
        """The handler begins."""

    async def end(self) -> None:  # noqa: B027 - on one node the reply says it
        """The handler has ended well."""

    def close(self) -> None:  # noqa: B027 - on one node there is nothing to close
        """Nothing more leaves, but for the end."""

    def watched(self) -> AbstractAsyncContextManager[None]:
        """Around the handler: it ends when nobody is there any more who reads. On one node the supervisor says so."""
        return nullcontext()

    @abstractmethod
    async def leave(self, payload: bytes, units: int) -> None:
        """Send a part on its way; `count` includes it."""

    async def wait_credit(self) -> None:
        """Return when some more may leave."""
        self._credit = asyncio.get_running_loop().create_future()
        await self._credit

    async def put(self, payload: bytes) -> None:
        """Send the next part, once there is credit for it."""
        if self.delivery.is_cancelled:  # and the handler has swallowed it
            raise asyncio.CancelledError
        if self._under_way >= STREAM_WINDOW:
            while self._under_way >= STREAM_WINDOW:
                await self.wait_credit()
            self._turned = time.monotonic()
        units = weight(payload)
        self.count += 1
        self._under_way += units
        await self.leave(payload, units)
        if time.monotonic() - self._turned > TURN_SECONDS:
            await asyncio.sleep(0)
            self._turned = time.monotonic()

    def granted(self, units: int) -> None:
        """So many units were read."""
        self._under_way = max(0, self._under_way - units)
        if self._credit is not None and not self._credit.done():
            self._credit.set_result(None)


class LocalFlow(Flow):
    """To a reader of this node, with what the handler sends."""

    def __init__(self, delivery: Delivery, sending: Sending) -> None:
        super().__init__(delivery)
        self._sending = sending

    async def leave(self, payload: bytes, units: int) -> None:
        delivery = self.delivery
        self._sending.post(Letter(PART, delivery.letter.id, "", "", "", payload, ordinal=self.count), delivery)


async def run(route: Route, message: Any, flow: Flow | None, fit: Callable[[bytes], bytes]) -> None:
    """Run a handler and send what it yields, as it is yielded; without a flow nobody reads it."""
    try:
        if flow is not None:
            await flow.begin()
        async with (
            flow.watched() if flow is not None else nullcontext(),
            aclosing(route.call(message) if route.is_stream else _once(route, message)) as parts,
        ):
            async for part in parts:
                if flow is not None:
                    await flow.put(fit(encode(part)))
    finally:
        if flow is not None:
            flow.close()


async def _once(route: Route, message: Any) -> AsyncGenerator[Any, None]:
    """The one part of a handler that does not stream."""
    if route.is_async:
        yield await route.call(message)
    elif route.in_thread:
        yield await asyncio.to_thread(route.call, message)
    else:
        yield route.call(message)


def not_asked(letter: Letter, route: Route) -> BadMessage:
    """For a message that was asked, though its handler streams."""
    kind = letter.type.rpartition(":")[2] or (route.type.__name__ if issubclass(route.type, Struct) else "this message")
    return BadMessage(
        f"{kind} is answered in parts; read them with `async for part in ref.stream(...)` instead of `ask`", field="stream"
    )
