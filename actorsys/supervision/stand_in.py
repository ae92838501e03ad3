"""Who takes an agent's mail from NATS while it has no connection of its own? Its supervisor, in the same queue group (G11)."""

import asyncio
import logging

from ..bus.base import Bus
from ..comms.reception import Reception
from ..errors import ActorError
from ..mailbox.letter import Letter
from .mail import Mail

log = logging.getLogger("actorsys.supervisor")


class StandIn:
    """For one agent; its replicas count as one."""

    def __init__(self, bus: Bus, mail: Mail, *, agent: str, run: str) -> None:
        self._mail = mail
        self._agent = agent
        self._reception = Reception(bus, name=agent, to=agent, run=run, accept=self._accept)
        self._is_wanted = False
        self._is_open = False
        self._task: asyncio.Task[None] | None = None

    def want(self, wanted: bool) -> None:
        """Begin or end, in the background."""
        self._is_wanted = wanted
        if wanted != self._is_open and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._settle())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _settle(self) -> None:
        while self._is_wanted != self._is_open:
            self._is_open = self._is_wanted
            try:
                await (self._reception.open() if self._is_open else self._reception.close())
            except ActorError as error:
                log.warning("nobody stands in for %s on NATS while it restarts: %s", self._agent, error)
                return

    async def _accept(self, letter: Letter) -> None:
        outbox = self._mail.outbox
        await outbox.wait_room(letter.to)
        outbox.post(letter)
        await outbox.custody()
