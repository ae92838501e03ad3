"""Feels the pulse of agents that owe something: pings the silent ones, ends those that do not answer."""

from __future__ import annotations

import asyncio
import logging
import signal
from typing import TYPE_CHECKING

from ..clock import now_ns
from ..mailbox.letter import Ping
from ..units import SECOND_NS, format_seconds
from . import core as machine
from . import restart
from .health import Debtor, Health
from .member import Member

if TYPE_CHECKING:
    from .driver import Driver

log = logging.getLogger("actorsys.supervisor")

DUMP_SECONDS = 0.5  # that a hung agent gets to write its stacks


class Pulse:
    """The driver of `health`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._health = Health()
        self.heard = self._health.heard
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(self._health.interval_ns / SECOND_NS, self._check)

    def close(self) -> None:
        self._timer.cancel()

    def _check(self) -> None:
        boxes = self._driver.mail.switchboard.boxes
        debtors = [
            Debtor(member.name, member.incarnation, restart.ns(member.spec.hang_timeout))
            for member in self._driver.members.values()
            if member.is_ready and member.killed_for is None and (boxes[member.name].out or member.owed)
        ]
        for name, verdict in self._health.check(debtors, now_ns()):
            if verdict == "ping":
                self._driver.mail.note(name, Ping(0))
            else:
                self._end(self._driver.members[name])
        self._timer = self._loop.call_later(self._health.interval_ns / SECOND_NS, self._check)

    def _end(self, member: Member) -> None:
        """Let it write its stacks, if it still can, then kill it."""
        assert member.process is not None
        log.warning("%s does not react for %s: dumping its stacks", member.shown, format_seconds(member.spec.hang_timeout))
        member.killed_for = "unresponsive"
        member.process.signal(signal.SIGUSR2)
        event = machine.Unresponsive(member.name, member.incarnation)
        self._loop.call_later(DUMP_SECONDS, self._driver.tell_core_unless_over, event)
