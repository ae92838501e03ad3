"""Who takes an agent's mail from NATS while it has no connection of its own? Its supervisor, in the same queue group (G11)."""

import asyncio
import logging
from contextlib import suppress

from ..bus.base import Bus
from ..comms.reception import Reception
from ..errors import ActorError, Unreachable
from .mail import Mail

log = logging.getLogger("actorsys.supervisor")


RETRY = 1.0  # seconds


class StandIn:
    """For one agent, its replicas counting as one, from the moment it is made until it is closed."""

    def __init__(self, bus: Bus, mail: Mail, *, agent: str, run: str) -> None:
        self._agent = agent
        self._reception = Reception(bus, mail.outbox, name=agent, to=agent, run=run, stands_in=True)
        self._is_over = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(self._open())

    async def close(self) -> None:
        """Take no more; what has arrived is accepted first."""
        self._is_over.set()
        await self._task
        await self._reception.close()

    async def _open(self) -> None:
        """Try until it works: it may be refused now, and permitted again later."""
        held = False
        while not self._is_over.is_set():
            try:
                await self._reception.open()
                return
            except Unreachable:
                return  # our own connection is being closed
            except ActorError as error:
                log.log(logging.DEBUG if held else logging.WARNING, "nobody stands in for %s on NATS: %s", self._agent, error)
                held = True
                await self._reception.close()
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY):
                    await self._is_over.wait()
