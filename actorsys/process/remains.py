"""What did a dead process leave running, and whose is what fell to the keeper?

A direct child of the keeper that is none of its kin is a stray: started by an agent, orphaned when that or something in between ended.
It belongs to the agent whose session it is in, or whose mark it carries; nameless ones that show up at a death belong to the dead.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection, Iterable, Mapping

from .procfs import Procfs


class Kin:
    """A process the keeper looks after: the zygote, an agent, another program. `unborn`: a fork that failed or was cut short."""

    __slots__ = ("kind", "mark", "pid", "status", "rss", "since", "request")

    def __init__(self, kind: str, mark: str, pid: int = 0, request: int = 0) -> None:
        self.kind, self.mark, self.pid, self.request = kind, mark, pid, request
        self.status = self.rss = 0
        self.since = 0.0


def kill(pid: int, number: int = signal.SIGKILL, *, group: bool = True) -> None:
    """Signal a process that is ours and not yet reaped, so that its number cannot be another's; and its group if it leads one."""
    if group:
        try:
            os.killpg(pid, number)
        except OSError:
            pass  # it leads none, or nobody is left in it
    try:
        os.kill(pid, number)
    except OSError:
        pass  # it has just ended


class Remains:
    def __init__(self, procfs: Procfs, keeper: int, *, has_marks: bool = True) -> None:
        self._procfs = procfs
        self._keeper = keeper
        self._has_marks = has_marks  # whether a forked agent carries its mark from its first moment
        self._owners: dict[int, str] = {}  # stray -> mark of its living owner
        self._nameless: set[int] = set()  # strays seen once without a name

    def forget(self, pid: int) -> None:
        """A child was reaped: its number may come again."""
        self._owners.pop(pid, None)
        self._nameless.discard(pid)

    def clear(self, dead: Iterable[Kin], living: Mapping[int, Kin], unborn: Collection[str]) -> set[str]:
        """Kill what the dead left. Returns the marks of those that had left something: call again until there is none.

        `unborn` are the marks of forks under way: their processes may be here already, not yet known as kin.
        """
        sessions = {kin.pid: kin.mark for kin in dead if kin.pid}
        dead_marks = {kin.mark for kin in dead}
        living_marks = {kin.mark for kin in living.values()}.union(unborn)
        left: set[str] = set()
        for root, tree in self._procfs.trees(self._keeper, living).items():
            stat = self._procfs.stat(root)
            if stat is None or stat.session in living or self._owners.get(root) in living_marks:
                continue
            owner = sessions.get(stat.session) or self._procfs.mark(root)
            if owner in living_marks:
                self._owners[root] = owner or ""
                continue
            if owner in dead_marks:
                left.add(owner or "")
            elif stat.state == "Z":
                # Itself nothing but a number. But it may have ended after the keeper's children were listed, and what it left
                # became one of them only then: the next round sees it.
                left |= dead_marks
                continue
            else:
                left |= dead_marks
                is_newborn = unborn and not self._has_marks
                if root not in self._nameless or is_newborn:
                    # Perhaps between fork and exec, with no environment to read: a name may show at the second look.
                    self._nameless.add(root)
                    continue
            for pid in tree:
                kill(pid)
        return left


def end_all(procfs: Procfs, keeper: int) -> None:
    """One stroke of the undertaker: SIGKILL to everything below the keeper."""
    for tree in procfs.trees(keeper, ()).values():
        for pid in tree:
            kill(pid)
