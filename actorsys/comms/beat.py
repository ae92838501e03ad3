"""When is the next heartbeat?"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable

log = logging.getLogger("actorsys.comms")

JITTER = 0.1  # each wait is up to so much shorter or longer: agents started together do not beat together
SOON = 1.0  # seconds within which a beat that was asked for happens; spread, as all come back at the same moment


class Beat:
    """Calls `beat` every so many seconds until closed, and once more soon after `soon`."""

    def __init__(self, interval: float, beat: Callable[[], Awaitable[None]]) -> None:
        self._interval = interval
        self._beat = beat
        self._early = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())

    def soon(self) -> None:
        """Do not wait for the full interval: the others may have missed us."""
        self._early.set()

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._interval * random.uniform(1 - JITTER, 1 + JITTER)):
                    await self._early.wait()
                self._early.clear()
                await asyncio.sleep(min(SOON, self._interval) * random.uniform(0, 1))
            except TimeoutError:
                pass  # the usual case: it is time
            try:
                await self._beat()
            except Exception:
                log.exception("a heartbeat failed")
