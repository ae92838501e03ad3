"""Bugs to be found: each is one wrong line, put into the core for the length of a test."""

from collections.abc import Callable

import pytest

from actorsys.supervision import restart
from actorsys.supervision.core import Core, Exited
from actorsys.supervision.states import Child, Slot
from actorsys.supervision.strategy import Roster, rank

Patch = Callable[[pytest.MonkeyPatch], None]


def intensity_switched_off(patch: pytest.MonkeyPatch) -> None:
    charge = restart.Window.charge
    patch.setattr(restart.Window, "charge", lambda *args: charge(*args) * 0)


def limit_one_too_high(patch: pytest.MonkeyPatch) -> None:
    charge = restart.Window.charge
    patch.setattr(restart.Window, "charge", lambda *args: charge(*args) - 1)


def limit_one_too_low(patch: pytest.MonkeyPatch) -> None:
    charge = restart.Window.charge
    patch.setattr(restart.Window, "charge", lambda *args: charge(*args) + 1)


def window_without_its_edge(patch: pytest.MonkeyPatch) -> None:
    count = restart.Window.count
    patch.setattr(restart.Window, "count", lambda self, now, period: count(self, now, period - 1))


def commanded_stop_counts_as_a_crash(patch: pytest.MonkeyPatch) -> None:
    exited = Core._exited

    def wrong(self: Core, slot: Slot, event: Exited, *, was_launched: bool = True) -> None:
        if slot.after in ("stopped", "waiting"):
            slot.window.charge(self._now, restart.ns(slot.child.restart.window))
        exited(self, slot, event, was_launched=was_launched)

    patch.setattr(Core, "_exited", wrong)


def commanded_stop_is_restarted(patch: pytest.MonkeyPatch) -> None:
    exited = Core._exited

    def wrong(self: Core, slot: Slot, event: Exited, *, was_launched: bool = True) -> None:
        if slot.after == "stopped":
            slot.after = "waiting"
        exited(self, slot, event, was_launched=was_launched)

    patch.setattr(Core, "_exited", wrong)


def start_order_reversed(patch: pytest.MonkeyPatch) -> None:
    may_start = Roster.may_start
    patch.setattr(Roster, "may_start", lambda self, slots: iter(list(may_start(self, slots))[::-1]))


def dependencies_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Roster, "missing", lambda self, slot: None)


def stop_order_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Roster, "may_stop", lambda self, slots: sorted(slots, key=rank))


def backoff_that_outlives_a_stop(patch: pytest.MonkeyPatch) -> None:
    rest = Core._rest

    def wrong(self: Core, slot: Slot, decision: str, *, is_done: bool = False) -> None:
        due = slot.wake if slot.state == "backoff" else None
        rest(self, slot, decision, is_done=is_done)
        if due is not None and slot.name in self._slots:
            self._set_timer(slot, due)

    patch.setattr(Core, "_rest", wrong)


def two_incarnations(patch: pytest.MonkeyPatch) -> None:
    kill = Core._kill

    def wrong(self: Core, slot: Slot, why: str) -> None:
        kill(self, slot, why)  # type: ignore[arg-type]
        if why == "start_timeout" and slot.after is None:
            self._died(slot, Exited(slot.name, slot.incarnation, "start_timeout"), was_launched=True)

    patch.setattr(Core, "_kill", wrong)


def old_news_believed(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: Core, name: str, incarnation: int) -> Slot | None:
        slot = self._slots.get(name)
        return slot if slot is not None and slot.is_alive else None

    patch.setattr(Core, "_current", wrong)


def temporary_bystander_restarted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Child, "is_temporary", property(lambda self: False))


def backoff_that_never_grows(patch: pytest.MonkeyPatch) -> None:
    delay_ns = restart.delay_ns
    patch.setattr(restart, "delay_ns", lambda rule, level, fraction: delay_ns(rule, 0, fraction))


def hung_start_never_killed(patch: pytest.MonkeyPatch) -> None:
    kill = Core._kill
    patch.setattr(Core, "_kill", lambda self, slot, why: None if why == "start_timeout" else kill(self, slot, why))


def stop_deadline_forgotten(patch: pytest.MonkeyPatch) -> None:
    kill = Core._kill
    patch.setattr(Core, "_kill", lambda self, slot, why: None if why == "stop_timeout" else kill(self, slot, why))


def one_start_too_many(patch: pytest.MonkeyPatch) -> None:
    init = Core.__init__

    def wrong(self: Core, *args: object, **options: int) -> None:
        init(self, *args, **options | {"max_starting": options["max_starting"] + 1})  # type: ignore[arg-type]

    patch.setattr(Core, "__init__", wrong)


BUGS: list[Patch] = [
    value for value in list(globals().values()) if callable(value) and getattr(value, "__module__", "") == __name__
]
