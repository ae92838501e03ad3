"""Who is told, and who ends too, when an agent dies?

As in Erlang both are about one incarnation. A monitor is answered by exactly one `Down` with the exit reason, at the next death of
its target, whether or not that is restarted; at once if the target is not up. A link makes the abnormal death of one end the
other, whose restart type then decides; a normal end only dissolves it. Whoever died has no monitors and links any more: its next
incarnation makes them again in `on_start`.
"""

from __future__ import annotations

from msgspec import Struct

UNKNOWN = "unknown"


class Down(Struct, frozen=True):
    """Tell `to` that `name` is down, for `reason`: an exit reason, or `unknown`."""

    to: str
    name: str
    reason: str


class End(Struct, frozen=True):
    """End `name`, abnormally, because `because` died, which it is linked to."""

    name: str
    because: str
    reason: str


class Links:
    """All monitors and links of a node. Methods give what is to be done now."""

    def __init__(self) -> None:
        self._up: set[str] = set()
        self._last_reason: dict[str, str] = {}  # of those that are down but not forgotten
        self._watchers: dict[str, dict[str, int]] = {}  # target -> watcher -> how many monitors it has
        self._watched: dict[str, set[str]] = {}  # watcher -> targets
        self._linked: dict[str, set[str]] = {}

    def up(self, name: str) -> None:
        """An incarnation was launched; from now on it can watch and be watched."""
        self._up.add(name)
        self._last_reason.pop(name, None)

    def monitor(self, watcher: str, target: str) -> list[Down]:
        """Watch `target` until its next death. Each call is answered by one Down, also several of the same watcher."""
        if target not in self._up:
            return [Down(watcher, target, self._why_down(target))]
        counts = self._watchers.setdefault(target, {})
        counts[watcher] = counts.get(watcher, 0) + 1
        self._watched.setdefault(watcher, set()).add(target)
        return []

    def demonitor(self, watcher: str, target: str) -> None:
        """Forget all monitors of `watcher` on `target`; no Down comes after this."""
        self._watchers.get(target, {}).pop(watcher, None)
        self._watched.get(watcher, set()).discard(target)
        self._drop_empty(watcher, target)

    def link(self, one: str, other: str) -> list[End]:
        """Tie two agents together. With one that is down, the other is ended at once; with oneself it means nothing."""
        for name, partner in ((one, other), (other, one)):
            if name not in self._up:
                return [End(partner, name, self._why_down(name))] if partner in self._up else []
        if one != other:
            self._linked.setdefault(one, set()).add(other)
            self._linked.setdefault(other, set()).add(one)
        return []

    def unlink(self, one: str, other: str) -> None:
        self._linked.get(one, set()).discard(other)
        self._linked.get(other, set()).discard(one)
        self._drop_empty(one, other)

    def down(self, name: str, reason: str, *, normal: bool) -> list[Down | End]:
        """An incarnation ended: whom to tell, and, if that was not normal, whom to end. Says nothing the second time."""
        if name not in self._up:
            return []
        self._up.discard(name)
        self._last_reason[name] = reason
        counts = {watcher: count for watcher, count in self._watchers.get(name, {}).items() if watcher != name}
        told = [Down(watcher, name, reason) for watcher, count in counts.items() for _ in range(count)]
        ended = [] if normal else [End(partner, name, reason) for partner in sorted(self._linked.get(name, ()))]
        for watcher in list(self._watchers.get(name, ())):
            self.demonitor(watcher, name)
        for target in list(self._watched.get(name, ())):
            self.demonitor(name, target)
        for partner in list(self._linked.get(name, ())):
            self.unlink(name, partner)
        return [*told, *ended]

    def forget(self, name: str) -> None:
        """The child is no more; a later monitor on it says `unknown`."""
        self._last_reason.pop(name, None)

    def _why_down(self, name: str) -> str:
        return self._last_reason.get(name, UNKNOWN)

    def _drop_empty(self, *names: str) -> None:
        for name in names:
            for table in (self._watchers, self._watched, self._linked):
                if name in table and not table[name]:
                    del table[name]
