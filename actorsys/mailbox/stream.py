"""How is a stream read? The reader's side of an answer that comes in parts, from this node or another.

What has come and was not read yet is here, bounded by the credit of who sends: it is given back as the reader goes on, half a window
at a time. So a reader that is slow makes the handler wait at its `yield`, and nothing piles up in between.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Generic, TypeVar

from ..errors import ActorError, AskTimeout, BadMessage
from ..units import format_seconds
from .letter import STREAM_WINDOW

R_co = TypeVar("R_co", covariant=True)

BATCH = STREAM_WINDOW // 2  # units that are given back together


class Parts:
    """The parts of one answer. `give` tells its sender that so many units were read, `forget` that nobody reads any more."""

    __slots__ = ("_came", "_decode", "_end", "_forget", "_give", "_owed", "_wake", "last")

    def __init__(self, decode: Callable[[Any], Any], give: Callable[[int], None], forget: Callable[[], None]) -> None:
        self._decode = decode
        self._give = give
        self._forget = forget
        self._came: deque[tuple[Any, int]] = deque()  # with what each weighs
        self._owed = 0  # units read and not given back
        self._end: ActorError | bool = False  # True: in good order
        self._wake: asyncio.Future[None] | None = None
        self.last = 0  # ordinal of the part that came last

    @property
    def is_ready(self) -> bool:
        """Whether `read` needs no `wait`."""
        return bool(self._came) or self.is_over

    @property
    def error(self) -> ActorError | None:
        """How it ended, when nothing that came is left."""
        return self._end if isinstance(self._end, ActorError) and not self._came else None

    @property
    def is_over(self) -> bool:
        """Whether nothing more will come."""
        return self._end is not False

    def put(self, part: Any, units: int) -> None:
        if not self.is_over:
            self.last += 1
            self._came.append((part, units))
            self._stir()

    def end(self, error: ActorError | None = None) -> None:
        """Nothing more comes; what is here is read first."""
        if not self.is_over:
            self._end = error or True
            self._stir()

    def close(self) -> None:
        """Nobody reads any more."""
        self._came.clear()
        if not self.is_over:
            self._end = True
            self._stir()
            self._forget()

    def _stir(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def wait(self) -> None:
        """Return when there is a part, or the end."""
        while not self.is_ready:
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake

    def read(self) -> Any:
        """The next part. Raises StopAsyncIteration at the end, what went wrong, and BadMessage for a part of another type."""
        if not self._came:
            error, self._end = self._end, True
            raise error if isinstance(error, ActorError) else StopAsyncIteration
        part, units = self._came.popleft()
        try:
            value = self._decode(part)
        except Exception as error:  # whatever is wrong with a part belongs to who reads it
            self.close()
            raise BadMessage(f"a part of the stream is not of the type that the request names: {error}") from error
        self._owed += units
        if self._owed >= BATCH and not self.is_over:
            owed, self._owed = self._owed, 0
            self._give(owed)
        return value


Opening = Callable[[], Awaitable[Parts]]


class Stream(AsyncIterator[R_co], Generic[R_co]):
    """What `Ref.stream` returns: the parts of an answer, once. Nothing is sent before the first of them is waited for.

    Closed, dropped, or left by an error or a cancellation it stops the handler.
    """

    __slots__ = ("__weakref__", "_is_read", "_loop", "_open", "_parts", "_timeout", "_to")

    def __init__(self, to: str, timeout: float, open: Opening) -> None:
        self._to = to
        self._timeout = timeout
        self._open: Opening | None = open
        self._loop: asyncio.AbstractEventLoop | None = None
        self._parts: Parts | None = None
        self._is_read = False  # by somebody, at this moment

    def __aiter__(self) -> "Stream[R_co]":
        return self

    async def __anext__(self) -> R_co:
        """The next part. Raises AskTimeout when it does not come in time, and what an ask raises."""
        if self._is_read:
            raise RuntimeError("two tasks read the same stream; let one read, and pass on what it gets")
        self._is_read = True
        try:
            if self._parts is None or not self._parts.is_ready:
                await self._wait()
            if self._parts is None:
                raise StopAsyncIteration
            value: R_co = self._parts.read()
            return value
        except BaseException:  # the end, an error, a cancellation: whatever it is, nobody reads on
            self._close()
            raise
        finally:
            self._is_read = False

    async def _wait(self) -> None:
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                if self._open is not None:
                    self._loop = asyncio.get_running_loop()
                    opening, self._open = self._open, None
                    self._parts = await opening()
                if self._parts is not None:
                    await self._parts.wait()
        except TimeoutError:
            if not limit.expired():
                raise
            text = f"{self._to!r} sent no part within {format_seconds(self._timeout)}; its handler is stopped if it runs."
            raise AskTimeout(text) from None

    async def aclose(self) -> None:
        """Read no more: the handler is stopped, if it runs."""
        self._close()

    def _close(self) -> None:
        self._open = None
        if self._parts is not None:
            self._parts.close()

    def __del__(self) -> None:
        parts, loop = self._parts, self._loop
        if parts is None or loop is None or parts.is_over:
            return
        if asyncio._get_running_loop() is loop:
            parts.close()
        elif not loop.is_closed():  # the garbage collector runs in any thread
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(parts.close)
