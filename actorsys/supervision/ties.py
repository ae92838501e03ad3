"""Monitors and links between agents, performed: who watches whom, who is told, who ends with whom."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..mailbox.codec import encode
from ..mailbox.letter import HOST, INCARNATION, TELL, Frame, Letter, Watch
from ..mailbox.traffic import Posted
from ..messages import Down, type_id
from . import core as machine
from . import links
from .member import Member

if TYPE_CHECKING:
    from .driver import Driver

URGENT = 1  # the priority of a notice


class Ties:
    """The driver of `links`: notices travel as letters, ends as kills."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._links = links.Links()

    def up(self, name: str) -> None:
        self._links.up(name)

    def down(self, name: str, reason: str, *, normal: bool) -> None:
        """An incarnation ended."""
        self._perform(self._links.down(name, reason, normal=normal))

    def forget(self, name: str) -> None:
        self._links.forget(name)

    def watch(self, member: Member, note: Watch) -> None:
        """Begin or end what an agent wants, with every process behind the name."""
        for target in self._driver.named(note.name) or [note.name]:
            match note.what:
                case "monitor":
                    self._perform(self._links.monitor(member.name, target))
                case "demonitor":
                    self._links.demonitor(member.name, target)
                case "link":
                    self._perform(self._links.link(member.name, target))
                case "unlink":
                    self._links.unlink(member.name, target)

    def _perform(self, effects: Iterable[links.Down | links.End]) -> None:
        for effect in effects:
            if isinstance(effect, links.End):
                self._end(effect)
            elif (member := self._driver.members.get(effect.to)) is not None:
                down = Down(self._shown(effect.name), effect.reason)
                letter = Letter(TELL, 0, member.name, "", type_id(Down), encode(down), URGENT)
                letter.headers = {INCARNATION: member.incarnation}
                self._driver.mail.handle(Posted(HOST, Frame(letters=[letter])))

    def _end(self, end: links.End) -> None:
        member = self._driver.members.get(end.name)
        if member is not None:
            member.kill_detail = f"it was linked to {self._shown(end.because)}, which died ({end.reason})"
            self._driver.tell_core(machine.KillChild(member.name))

    def _shown(self, name: str) -> str:
        member = self._driver.members.get(name)
        return member.shown if member else name
