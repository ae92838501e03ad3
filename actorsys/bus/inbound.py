"""What has arrived for one subscription and is not handled yet?

The queue is ours, not the client library's, so that it outlives a connection and every message that finds no room is counted.
No task exists while nothing waits: an idle subscription costs only its memory. A message that finds nobody before it is begun at once,
by the reader; if its handler does not wait, it needs no task either, which would cost 15 us.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import TypeAlias

from .base import Handler, Incoming
from .counters import Counters

Leave: TypeAlias = Callable[["Inbound"], Awaitable[None]]

MAX_REFUSED = 10_000  # messages that found no room, and are not answered yet; of any more only the count is kept


class Inbound:
    """A subscription on our side. `leave` ends it on the other side and returns when nothing more can arrive."""

    def __init__(
        self,
        subject: str,
        handler: Handler,
        counters: Counters,
        leave: Leave,
        *,
        queue: str = "",
        max_messages: int,
        max_bytes: int,
        concurrency: int,
        on_full: Handler | None = None,
    ) -> None:
        self.subject = subject
        self.queue = queue
        self.dropped = 0
        self.refused = ""
        self._handler = handler
        self._counters = counters
        self._leave = leave
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._concurrency = concurrency
        self._on_full = on_full
        self._waiting: deque[Incoming] = deque()
        self._count = self._bytes = 0  # of all that is not handled to the end
        self._begun: deque[tuple[Awaitable[object], int]] = deque()  # calls of the handler that no worker waits for yet; bytes
        self._workers: set[asyncio.Task[None]] = set()
        self._refused: deque[Awaitable[object]] = deque()  # calls of `on_full`
        self._refusing: asyncio.Task[None] | None = None
        self._is_closed = False

    def deliver(self, incoming: Incoming) -> None:
        """Take a message from the wire; called by the reader of the connection, so it neither waits nor raises."""
        if self._is_closed:
            return
        size = len(incoming.payload)
        self._counters.in_messages += 1
        self._counters.in_bytes += size
        # A message larger than max_bytes gets in when nothing else is here; otherwise it could never be handled.
        if self._count >= self._max_messages or (self._count and self._bytes + size > self._max_bytes):
            self.dropped += 1
            self._counters.slow(self.subject)
            self._refuse(incoming)
            return
        if self._waiting or self._begun or len(self._workers) >= self._concurrency:
            self._waiting.append(incoming)
        else:
            rest = self._begin(self._handler, incoming)
            if rest is None:
                return
            self._begun.append((rest, size))
        self._count += 1
        self._bytes += size
        if len(self._workers) < self._concurrency:
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    def _begin(self, handler: Handler, incoming: Incoming) -> Awaitable[object] | None:
        try:
            return handler(incoming)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything; the next message is handled
            self._counters.handler_failed(self.subject, error)
            return None

    async def _work(self) -> None:
        while self._begun or self._waiting:
            rest: Awaitable[object] | None
            if self._begun:
                rest, size = self._begun.popleft()
            else:
                incoming = self._waiting.popleft()
                rest, size = self._begin(self._handler, incoming), len(incoming.payload)
            if rest is not None:
                await self._finish(rest)
            self._count -= 1
            self._bytes -= size
        # No await between the empty queue and this: a message that arrives now finds no worker and starts one.
        task = asyncio.current_task()
        if task is not None:
            self._workers.discard(task)

    async def _finish(self, rest: Awaitable[object]) -> None:
        try:
            await rest
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._counters.handler_failed(self.subject, error)  # its own: something it awaited was cancelled
        except Exception as error:  # noqa: BLE001 - as above
            self._counters.handler_failed(self.subject, error)

    def _refuse(self, incoming: Incoming) -> None:
        if self._on_full is None or len(self._refused) >= MAX_REFUSED:
            return
        if (rest := self._begin(self._on_full, incoming)) is not None:
            self._refused.append(rest)
            if self._refusing is None:
                self._refusing = asyncio.get_running_loop().create_task(self._work_off())

    async def _work_off(self) -> None:
        try:
            while self._refused:
                await self._finish(self._refused.popleft())
                await asyncio.sleep(0)  # a refusal does not wait, and there may be thousands
        finally:
            self._refusing = None

    def _tasks(self) -> list[asyncio.Task[None]]:
        """All that run here, but for the one that asks."""
        tasks = self._workers if self._refusing is None else {*self._workers, self._refusing}
        current = asyncio.current_task()
        return [task for task in tasks if task is not current]

    @property
    def is_busy(self) -> bool:
        """Whether a handler runs."""
        return bool(self._workers) or self._refusing is not None

    async def unsubscribe(self) -> None:
        self._discard()
        await self._leave(self)

    async def drain(self, timeout: float = 5.0) -> None:
        try:
            async with asyncio.timeout(timeout):
                await self._leave(self)
                await self.wait_idle()
        except TimeoutError:
            self._counters.warn(
                f"drain {self.subject}", "%d messages on %s were not handled in time", len(self._waiting), self.subject
            )
        finally:
            self._discard()

    async def wait_idle(self) -> None:
        """Return when all that arrived is handled; a handler that waits for its own subscription does not count."""
        while tasks := self._tasks():
            await asyncio.wait(tasks)

    async def close(self) -> None:
        """Discard what waits, cancel the handlers and see them end."""
        self._discard()
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)  # a handler that swallows its cancellation does not hold us up

    def _discard(self) -> None:
        self._is_closed = True
        lost = len(self._waiting) + len(self._begun)
        if lost:
            self.dropped += lost
            self._counters.dropped += lost
        self._waiting.clear()
        for rest in (*(rest for rest, _ in self._begun), *self._refused):
            if isinstance(rest, Coroutine):
                rest.close()
        self._begun.clear()
        self._refused.clear()


class Inbounds:
    """The subscriptions of a bus in the order made; those that were left count no more, but their handlers still have an owner."""

    def __init__(self) -> None:
        self._active: dict[Inbound, None] = {}
        self._left: set[Inbound] = set()

    def __iter__(self) -> Iterator[Inbound]:
        return iter(list(self._active))

    def __len__(self) -> int:
        return len(self._active)

    def __contains__(self, inbound: object) -> bool:
        return inbound in self._active

    def add(self, inbound: Inbound) -> None:
        self._active[inbound] = None

    def leave(self, inbound: Inbound) -> None:
        self._left = {other for other in self._left if other.is_busy}
        if self._active.pop(inbound, self) is None:
            self._left.add(inbound)

    async def close(self) -> None:
        """End all handlers; bounded in time, however many there are."""
        everyone = [*self._active, *self._left]
        self._active.clear()
        self._left.clear()
        await asyncio.gather(*(inbound.close() for inbound in everyone))
