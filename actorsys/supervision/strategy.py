"""Who shares the fate of a child, and in which order do children start and stop?

Order of start is list order, with dependencies pulled ahead of what depends on them; order of stop is its reverse.
A round is a set of children that start and stop strictly one by one, each when the one before is ready, or gone. Rounds come from
one_for_all and rest_for_one; a child leaves its round when it is up, or down for good; rounds that meet become one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..names import base
from ..spec import GroupSpec, Strategy
from .states import Child, Slot


def order(children: Iterable[Child]) -> list[str]:
    """Names in the order of start. A cycle of dependencies has no order; its members wait for each other for ever.

    >>> order([Child(name="web", depends_on=("db",)), Child(name="mail"), Child(name="db")])
    ['db', 'web', 'mail']
    """
    families: dict[str, list[Child]] = {}
    listed = list(children)
    for child in listed:
        for key in {child.name, base(child.name)}:
            families.setdefault(key, []).append(child)
    done: dict[str, None] = {}
    seen: set[str] = set()
    stack: list[tuple[Child, bool]] = [(child, False) for child in reversed(listed)]
    while stack:
        child, is_second_visit = stack.pop()
        if is_second_visit:
            done[child.name] = None
        elif child.name not in seen:
            seen.add(child.name)
            stack.append((child, True))
            wanted = [other for name in child.depends_on for other in families.get(name, ())]
            stack.extend((other, False) for other in reversed(wanted) if other.name not in seen)
    return list(done)


class Roster:
    """All children in their order, who depends on whom, and whose turn it is to start or to stop."""

    def __init__(self, strategy: Strategy = "one_for_one", groups: Iterable[GroupSpec] = ()) -> None:
        self.strategy = strategy
        self.groups = {group.name: group for group in groups}
        self.slots: dict[str, Slot] = {}
        self._families: dict[str, dict[str, Slot]] = {}  # a name, or the base name of replicas, to who is meant by it
        self._dependants: dict[str, dict[str, Slot]] = {}  # a name as written in depends_on, to who wrote it
        self._rounds: dict[int, dict[str, Slot]] = {}
        self._last_rank = self._last_round = 0

    def insert(self, spec: Child) -> Slot:
        self._last_rank += 1
        slot = self.slots[spec.name] = Slot(spec, rank=self._last_rank)
        self._index(slot)
        if any(self.dependants_of(slot)):
            self._sort()
        return slot

    def update(self, slot: Slot, spec: Child) -> None:
        self._unindex(slot)
        slot.child = spec
        self._index(slot)
        self._sort()

    def forget(self, slot: Slot) -> None:
        del self.slots[slot.name]
        self._unindex(slot)

    def strategy_of(self, slot: Slot) -> Strategy:
        return self.strategy if slot.child.group is None else self.groups[slot.child.group].strategy

    def sharing(self, dead: Slot) -> list[Slot]:
        """The others that are stopped and started again because `dead` died.

        A grouped child concerns its group only. Seen from outside, a one_for_all group is restarted whole or not at all.
        """
        slots = list(self.slots.values())
        if dead.child.group is not None:
            slots = [slot for slot in slots if slot.child.group == dead.child.group]
        match self.strategy_of(dead):
            case "one_for_all":
                return [slot for slot in slots if slot is not dead]
            case "rest_for_one":
                touched = {slot.child.group for slot in slots if slot.rank > dead.rank and slot.child.group}
                whole = {name for name in touched if self.groups[name].strategy == "one_for_all"}
                return [slot for slot in slots if slot.rank > dead.rank or slot.child.group in whole]
            case _:
                return []

    def new_rounds(self, slots: Iterable[Slot]) -> None:
        """Start or stop all of these, strictly in order as far as the strategies want it."""
        sets: dict[str | None, list[Slot]] = {}
        for slot in slots:
            if self.strategy != "one_for_one":
                sets.setdefault(None, []).append(slot)
            elif slot.child.group is not None and self.strategy_of(slot) != "one_for_one":
                sets.setdefault(slot.child.group, []).append(slot)
        for members in sets.values():
            self.new_round(members)

    def dependants_of(self, slot: Slot) -> Iterator[Slot]:
        for key in {slot.name, base(slot.name)}:
            yield from self._dependants.get(key, {}).values()

    def missing(self, slot: Slot) -> str | None:
        """The dependency that the start of `slot` has to wait for; None: it may start."""
        for name in slot.child.depends_on:
            family = self._families.get(name, {})
            if not family and not slot.is_restart:
                return name
            for other in family.values():
                is_gone = slot.is_restart and other.state in ("stopped", "failed")
                if other.state not in ("running", "draining") and not other.is_done and not is_gone:
                    return other.name
        return None

    def new_round(self, slots: Iterable[Slot]) -> None:
        """From now on these start and stop one by one; those of them that are down for good do not count."""
        members = {slot.name: slot for slot in slots if slot.state not in ("stopped", "failed")}
        if len(members) < 2:
            return
        for number in {slot.round for slot in members.values() if slot.round is not None}:
            members |= self._rounds.pop(number)
        self._last_round += 1
        self._rounds[self._last_round] = members
        for slot in members.values():
            slot.round = self._last_round

    def leave_round(self, slot: Slot, number: int | None) -> None:
        if number is not None:
            self._rounds[number].pop(slot.name)
            if not self._rounds[number]:
                del self._rounds[number]

    def may_stop(self, slots: Iterable[Slot]) -> Iterator[Slot]:
        """Those of `slots` whose turn it is, the last first: what depends on them is down, and they are the last of their round."""
        turns = {number: next_to_stop(members.values()) for number, members in self._rounds.items()}
        for slot in sorted(slots, key=rank, reverse=True):
            is_its_turn = slot.round is None or slot.child.dynamic or turns[slot.round] is slot
            # Asked one after the other, so that who is cut short while draining counts as stopping for those it depends on.
            if is_its_turn and not any(other.after and other.state != "draining" for other in self.dependants_of(slot)):
                yield slot

    def may_start(self, slots: Iterable[Slot]) -> Iterator[Slot]:
        """Those of `slots` whose turn it is, the first first; the others learn what they wait for."""
        turns = {number: self._next_to_start(members.values()) for number, members in self._rounds.items()}
        for slot in sorted(slots, key=rank):
            if slot.round is not None and turns[slot.round] is not slot:
                continue
            if missing := self.missing(slot):
                slot.decision = f"waiting for {missing}"
                continue
            if slot.decision.startswith("waiting for "):
                slot.decision = "what it depends on is ready"
            yield slot

    def _next_to_start(self, members: Iterable[Slot]) -> Slot | None:
        """The one of a round that may start: the first not yet up, once all that must stop are gone and no wait is on."""
        members = list(members)
        for slot in members:
            is_going = slot.is_alive and slot.after is not None
            if is_going or (slot.state == "backoff" and self.strategy_of(slot) == "one_for_all"):
                return None
        return min(members, key=rank, default=None)

    def _index(self, slot: Slot) -> None:
        for key in {slot.name, base(slot.name)}:
            self._families.setdefault(key, {})[slot.name] = slot
        for key in slot.child.depends_on:
            self._dependants.setdefault(key, {})[slot.name] = slot

    def _unindex(self, slot: Slot) -> None:
        for index, keys in ((self._families, {slot.name, base(slot.name)}), (self._dependants, set(slot.child.depends_on))):
            for key in keys:
                index[key].pop(slot.name)
                if not index[key]:
                    del index[key]

    def _sort(self) -> None:
        listed = sorted(self.slots.values(), key=rank)
        for place, name in enumerate(order(slot.child for slot in listed)):
            self.slots[name].rank = self._last_rank = place


def rank(slot: Slot) -> int:
    return slot.rank


def next_to_stop(members: Iterable[Slot]) -> Slot | None:
    """The one of a round that may be asked to stop now: the last that has to and is still there."""
    return max((slot for slot in members if slot.is_alive and slot.after), key=rank, default=None)
