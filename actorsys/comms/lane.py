"""What is handled next, and how many at once? A bounded queue in order of priority, and its workers.

A worker exists only while there is work. Higher priorities come first; a message is overtaken by at most as many later ones as
the queue can hold for each step of priority, so none waits for ever.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any, Generic, TypeVar

from ..errors import MailboxFull

T = TypeVar("T")

log = logging.getLogger("actorsys.comms")


class Lane(Generic[T]):
    def __init__(self, handle: Callable[[T], Awaitable[None]], *, name: str, concurrency: int = 1, size: int = 1000) -> None:
        self._handle = handle
        self._name = name
        self._concurrency = concurrency
        self._size = size
        self._numbers = count()
        self._waiting: list[tuple[int, int, T]] = []
        self._workers: set[asyncio.Task[None]] = set()
        self._is_closed = False
        self.refused = 0

    @property
    def is_busy(self) -> bool:
        return bool(self._workers)

    def put(self, item: T, priority: int = 3) -> None:
        """Queue something; raises MailboxFull when there is no room, and after the end."""
        if self._is_closed or len(self._waiting) >= self._size:
            self.refused += 1
            why = "takes nothing more" if self._is_closed else f"has {self._size} messages waiting"
            raise MailboxFull(f"{self._name} {why}; send it again later.")
        number = next(self._numbers)
        heapq.heappush(self._waiting, (number + priority * self._size, number, item))
        if len(self._workers) < self._concurrency:
            worker = asyncio.get_running_loop().create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        task = asyncio.current_task()
        while self._waiting:
            item = heapq.heappop(self._waiting)[2]
            try:
                await self._handle(item)
            except asyncio.CancelledError:
                if task is not None and task.cancelling():
                    raise
                log.error("%s: the handler of a message was cancelled by what it waited for", self._name)
            except Exception:
                log.exception("%s: a message could not be handled", self._name)
        if task is not None:
            self._workers.discard(task)

    async def drain(self, caller: asyncio.Task[Any] | None = None) -> None:
        """Take nothing more, and return when what waits is handled; a `caller` that is a handler itself is not waited for."""
        self._is_closed = True
        while others := [worker for worker in self._workers if worker is not caller]:
            await asyncio.wait(others)

    async def close(self) -> int:
        """Take nothing more, cancel what runs; how many messages were never handled."""
        self._is_closed = True
        lost = len(self._waiting)
        self._waiting.clear()
        current = asyncio.current_task()
        workers = [worker for worker in self._workers if worker is not current]
        for worker in workers:
            worker.cancel()
        if workers:
            await asyncio.wait(workers, timeout=1.0)  # a handler that swallows its cancellation does not hold us up
        return lost
