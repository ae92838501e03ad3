"""Who is started, stopped and restarted, and when: the supervision machine. Events in, actions out; time is an argument.

One ladder of clauses per event changes states and wants; then two short passes (`_ask`, `_launch`) do what order, dependencies and
the number of starts under way allow by now. So no clause ever waits for another, and each pending start or stop is a state.
(It has over 400 lines: whoever wants to know what happens to a child next should not have to open two files.)

What the rules say where OTP leaves room:
- The limit is per child: past it the child is `failed`, ungrouped siblings live. A group of which a member has failed fails as a
  whole; then the supervisor's strategy says who else: nobody (one_for_one), who comes after the group's first member
  (rest_for_one), or everybody (one_for_all), which ends the supervisor with "escalation".
- One incident costs one unit: whoever dies while being stopped because of another is charged nothing.
- Dependencies gate each start. An automatic restart does not wait for a dependency that was stopped, has failed or was removed.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

from ..spec import GroupSpec, Strategy
from ..units import SECOND_NS, Seconds, format_seconds
from . import restart
from . import strategy as strategies

# isort: off
from .states import (
    Action, Add, After, AnyEvent, Changed, Child, ChildView, Command, Drain, Drained, Ending, Escalated, Event, Exited, Finished,
    Kill, KillCause, KillChild, Launch, LaunchFailed, Ready, Rejected, Remove, Removed, RestartChild, Shutdown, Slot, Start,
    StartChild, State, Stop, StopChild, Tick, Unresponsive, Update, child, move,
)  # fmt: skip
# isort: on

__all__ = [
    "Action", "Add", "AnyEvent", "Changed", "Child", "ChildView", "Core", "Drain", "Drained", "Escalated", "Event", "Exited",
    "Finished", "Kill", "KillChild", "Launch", "LaunchFailed", "Ready", "Rejected", "Remove", "Removed", "RestartChild", "Shutdown",
    "Start", "StartChild", "State", "Stop", "StopChild", "Tick", "Unresponsive", "Update", "child",
]  # fmt: skip

MAX_STARTING = 8  # a mass death is a queue, not a storm (two cores)


class Core:
    """The machine. `handle` takes what happened and gives what to do; call it again with a Tick at `next_wake()`."""

    def __init__(
        self,
        children: Iterable[Child] = (),
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 0,
        window: float = Seconds(60),
        groups: Iterable[GroupSpec] = (),
        max_starting: int = MAX_STARTING,
        max_children: int | None = None,
        seed: int = 0,
    ) -> None:
        self._roster = strategies.Roster(strategy, groups)
        self._slots = self._roster.slots
        self._limits: dict[str | None, tuple[int, int]] = {None: (max_restarts, restart.ns(window))}
        self._limits |= {name: (group.max_restarts, restart.ns(group.window)) for name, group in self._roster.groups.items()}
        self._windows = {scope: restart.Window() for scope in self._limits}
        self._max_starting = max_starting
        self._max_children = max_children
        self._seed = seed

        self._to_start: dict[str, Slot] = {}  # waiting
        self._to_stop: dict[str, Slot] = {}  # has to stop, not asked yet
        self._timers: list[tuple[int, str, int]] = []  # (when, name, incarnation); void once its slot knows it no more
        self._starting = self._alive = 0
        self._now = 0
        self._is_started = self._is_finished = False
        self._ending: Ending | None = None
        self._actions: list[Action] = []

        for spec in children:
            if why := self._why_not_add(spec):
                raise ValueError(f"child {spec.name}: {why}")
            self._insert(spec, start=True)

    # What others see

    @property
    def children(self) -> dict[str, ChildView]:
        """All children in the order of start."""
        return {slot.name: self.view(slot.name) for slot in sorted(self._slots.values(), key=strategies.rank)}

    def is_dynamic(self, name: str) -> bool:
        """Whether it was added at run time."""
        return self._slots[name].child.dynamic

    def find(self, name: str) -> ChildView | None:
        """One child, if there is one of that name."""
        return self.view(name) if name in self._slots else None

    def view(self, name: str) -> ChildView:
        slot = self._slots[name]
        return ChildView(
            name=name,
            state=slot.state,
            incarnation=slot.incarnation,
            deaths=slot.window.count(self._now, restart.ns(slot.child.restart.window)),
            restarts=slot.restarts,
            next_start_ns=slot.wake if slot.state == "backoff" else None,
            decision=slot.decision,
        )

    @property
    def is_finished(self) -> bool:
        return self._is_finished

    def next_wake(self) -> int | None:
        """When the next Tick is due at the latest; None: only an event can change anything."""
        while self._timers and not self._is_live(*self._timers[0]):
            heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def handle(self, event: AnyEvent, now: int) -> list[Action]:
        """Take one event; `now` is in monotonic ns and never goes back."""
        self._now, self._actions = now, []
        self._apply(event)
        self._expire()
        self._ask()
        self._launch()
        if self._ending and not self._alive and not self._is_finished:
            self._is_finished = True
            self._actions.append(Finished(self._ending))
        return self._actions

    # The ladder

    def _apply(self, event: AnyEvent) -> None:
        match event:
            case Ready(name, incarnation):
                if (slot := self._current(name, incarnation)) and slot.state == "starting" and not slot.is_killed:
                    slot.up_since = self._now
                    self._move(slot, "running", f"stopping {slot.cause}" if slot.after else "ready")
            case Exited(name, incarnation):
                if slot := self._current(name, incarnation):
                    self._exited(slot, event)
            case LaunchFailed(name, incarnation):
                if slot := self._current(name, incarnation):
                    self._exited(slot, Exited(name, incarnation, "start_failed"), was_launched=False)
            case Unresponsive(name, incarnation):
                if slot := self._current(name, incarnation):
                    self._kill(slot, "unresponsive")
            case Drained(name, incarnation):
                if (slot := self._current(name, incarnation)) and slot.state == "draining":
                    self._to_stop[name] = slot
            case Tick():
                pass
            case Start():
                self._start()
            case Stop(kill):
                self._end("shutdown", "with the supervisor")
                for slot in sorted(self._slots.values(), key=strategies.rank, reverse=True):
                    if kill and slot.is_alive:
                        self._kill(slot, "at_once")
            case Add(spec, start):
                if why := self._why_not_add(spec):
                    self._actions.append(Rejected(spec.name, why))
                else:
                    self._insert(spec, start=start)
            case _:
                name = event.child.name if isinstance(event, Update) else event.name
                if why := self._command(name, event):
                    self._actions.append(Rejected(name, why))

    def _command(self, name: str, event: Command) -> str | None:
        """Do what a command says, or say why not. The last command wins over those still under way; a removal is final."""
        if self._ending:
            return "the supervisor is stopping"
        if (slot := self._slots.get(name)) is None:
            return "unknown"
        match event, slot.state:
            case _, "stopping" if slot.after == "removed":
                return "being removed"
            case Update(spec), _:
                if why := self._why_not_take(spec):
                    return why
                self._roster.update(slot, spec)
            case KillChild(), "starting" | "running" | "draining" | "stopping":
                slot.is_pardoned = slot.is_pardoned or not slot.is_killed
                self._kill(slot, "command")
            case KillChild(), _:
                return "not running"

            case ((StartChild() | RestartChild()), "stopped" | "failed"):
                slot.window.clear()
                slot.backoff.clear()
                slot.is_automatic = slot.is_restart = False
                self._move(slot, "waiting", "start by command")
            case ((StartChild() | RestartChild()), "stopping"):
                self._stop_now(slot, "waiting", "by command")
            case StartChild(), "draining":
                slot.after, slot.is_automatic, slot.is_restart = "waiting", False, True
            case ((StartChild() | RestartChild()), "backoff"):
                return "restarting"
            case StartChild(), _:
                return "already started"
            case RestartChild(), "waiting" | "starting":
                pass  # whoever asked gets a fresh incarnation anyway
            case RestartChild(), "running" | "draining":
                self._stop_now(slot, "waiting", "by command")

            case StopChild(), "stopped" | "failed":
                pass
            case StopChild(), "waiting" | "backoff":
                self._rest(slot, f"stopped {event.cause}")
            case StopChild(drain=True), "running" if slot.after is None:
                slot.after, slot.cause = "stopped", event.cause
                self._move(slot, "draining", f"draining {event.cause}")
                self._actions.append(Drain(slot.name, slot.incarnation))
            case StopChild(drain=True), "draining":
                slot.after = "stopped"
            case StopChild(), _:
                self._stop_now(slot, "stopped", event.cause)

            case Remove(), "stopped" | "failed":
                self._forget(slot)
            case Remove(force=False), "waiting" | "backoff":
                return "restarting"
            case Remove(force=False), _:
                return "running"
            case Remove(), "waiting" | "backoff":
                self._move(slot, "stopped", "removed")
                self._forget(slot)
            case Remove(), _:
                self._stop_now(slot, "removed", "for its removal")
        return None

    # Deaths

    def _exited(self, slot: Slot, event: Exited, *, was_launched: bool = True) -> None:
        match slot.after:
            case None if event.ended and slot.state == "starting":
                self._rest(slot, "declined to start")
            case None:
                self._died(slot, event, was_launched=was_launched)
            case "waiting":
                self._move(slot, "waiting", f"restart {slot.cause}")
            case "failed":
                self._move(slot, "failed", f"failed {slot.cause}")
            case "stopped":
                self._rest(slot, f"stopped {slot.cause}")
            case "dropped":
                self._rest(slot, f"stopped {slot.cause}; a temporary child is not restarted")
            case "removed":
                self._move(slot, "stopped", "removed")
                self._forget(slot)

    def _died(self, slot: Slot, event: Exited, *, was_launched: bool) -> None:
        """It ended by itself: restart type, then limits, then backoff, then strategy."""
        death = restart.Death(
            at=self._now, reason=event.reason, exit_code=event.exit_code, up_since=slot.up_since, ended=event.ended,
            poison=event.poison, was_launched=was_launched, is_pardoned=slot.is_pardoned,
        )  # fmt: skip
        rule, group = slot.child.restart, slot.child.group
        if rest := restart.wanted(rule, death):
            self._rest(slot, rest.decision, is_done=rest.is_normal)
            return
        for scope in (None, group) if group else (None,):
            if over := self._over_limit(scope, death):
                self._move(slot, "failed", f"{restart.how(death)}; not restarted: {over}")
                self._give_up(scope, over)
                return
        fraction = restart.fraction(self._seed, slot.name, slot.incarnation)
        verdict = restart.decide(rule, slot.window, slot.backoff, death, fraction)
        decision = f"{restart.how(death)}; {verdict.decision}"
        match verdict:
            case restart.Again(delay_ns=delay):
                self._restart(slot, delay, decision)
            case restart.Fail():
                self._move(slot, "failed", decision)
                if group:
                    self._give_up(group, f"{slot.name} {decision}")

    def _restart(self, slot: Slot, delay: int, decision: str) -> None:
        slot.is_automatic = slot.is_restart = True
        self._move(slot, "backoff" if delay else "waiting", decision)
        if delay:
            self._set_timer(slot, self._now + delay)
        sharing = self._roster.sharing(slot)
        for other in sharing:
            if other.is_alive and other.after is None:
                self._stop_later(other, "dropped" if other.child.is_temporary else "waiting", f"with {slot.name}")
                other.is_automatic = other.is_restart = True
            elif other.state == "draining":
                self._to_stop[other.name] = other  # cut short: the others of its round wait for its end
        self._roster.new_round([slot, *sharing])

    def _over_limit(self, scope: str | None, death: restart.Death) -> str | None:
        """Charge a death to a group, or to the supervisor (None); the text of the verdict if that was one too many."""
        limit, period = self._limits[scope]
        if not limit or death.is_pardoned:
            return None
        count = self._windows[scope].charge(death.at, period, death.poison)
        if count <= limit:
            return None
        whole = "the supervisor" if scope is None else f"group {scope}"
        return f"{restart.deaths(count)} in {format_seconds(period / SECOND_NS)} in {whole}, limit {limit}"

    def _give_up(self, scope: str | None, reason: str) -> None:
        """A group has failed as a whole, or the supervisor (None) has."""
        self._actions.append(Escalated(scope, reason))
        if scope is None:
            self._end("intensity", "with the supervisor, which gave up")
            return
        members = [slot for slot in self._slots.values() if slot.child.group == scope]
        first = min(slot.rank for slot in members)
        match self._roster.strategy:
            case "one_for_one":
                self._fail(members, f"with group {scope}: {reason}")
            case "rest_for_one":
                later = [slot for slot in self._slots.values() if slot.rank > first and slot.child.group != scope]
                self._fail(members + later, f"with group {scope}: {reason}")
            case "one_for_all":
                self._actions.append(Escalated(None, f"group {scope}: {reason}"))
                self._end("escalation", f"with the supervisor: group {scope} has failed")

    def _fail(self, slots: list[Slot], cause: str) -> None:
        for slot in sorted(slots, key=strategies.rank, reverse=True):
            if slot.state in ("waiting", "backoff"):
                self._move(slot, "failed", f"failed {cause}")
            elif slot.is_alive and slot.after in (None, "waiting"):
                self._stop_later(slot, "failed", cause)
        self._roster.new_rounds(slots)

    # Beginning and end

    def _start(self) -> None:
        if not self._is_started:
            self._is_started = True
            self._roster.new_rounds(self._to_start.values())

    def _end(self, reason: Ending, cause: str) -> None:
        if self._ending:
            return
        self._ending = reason
        slots = sorted(self._slots.values(), key=strategies.rank, reverse=True)
        for slot in slots:
            if slot.state in ("waiting", "backoff"):
                self._rest(slot, f"stopped {cause}")
            elif slot.is_alive:
                self._stop_later(slot, "removed" if slot.after == "removed" else "stopped", cause)
        self._roster.new_rounds(slots)

    # The two passes: who may be asked to stop by now, who may start

    def _ask(self) -> None:
        if self._to_stop:
            for slot in self._roster.may_stop(self._to_stop.values()):
                self._ask_one(slot)

    def _launch(self) -> None:
        if not self._is_started or not self._to_start or self._starting >= self._max_starting:
            return
        for slot in self._roster.may_start(self._to_start.values()):
            slot.incarnation += 1
            slot.restarts += slot.is_automatic
            self._move(slot, "starting", slot.decision)
            self._set_timer(slot, self._now + slot.child.start_timeout_ns)
            self._actions.append(Launch(slot.name, slot.incarnation))
            if self._starting >= self._max_starting:
                return

    def _expire(self) -> None:
        while (wake := self.next_wake()) is not None and wake <= self._now:
            slot = self._slots[heappop(self._timers)[1]]
            slot.wake = None
            match slot.state:
                case "starting":
                    self._kill(slot, "start_timeout")
                case "stopping":
                    self._kill(slot, "stop_timeout")
                case _:
                    self._move(slot, "waiting", slot.decision)

    # Steps

    def _move(self, slot: Slot, state: State, decision: str) -> None:
        was_alive, was_starting, number = slot.is_alive, slot.state == "starting", slot.round
        move(slot, state, decision)
        self._alive += slot.is_alive - was_alive
        self._starting += (state == "starting") - was_starting
        if slot.round is None:
            self._roster.leave_round(slot, number)
        if not slot.is_alive or state == "stopping":
            self._to_stop.pop(slot.name, None)
        if state == "waiting":
            self._to_start[slot.name] = slot
        else:
            self._to_start.pop(slot.name, None)
        self._actions.append(Changed(slot.name, state, decision))

    def _rest(self, slot: Slot, decision: str, *, is_done: bool = False) -> None:
        """It has ended and nothing but a command starts it again; a temporary child that was added at run time is forgotten."""
        self._move(slot, "stopped", decision)
        slot.is_done = is_done
        if slot.child.dynamic and slot.child.is_temporary:
            self._forget(slot)

    def _stop_later(self, slot: Slot, after: After, cause: str) -> None:
        """It has to stop; when it is asked to is a matter of order."""
        slot.after, slot.cause, slot.is_automatic, slot.is_restart = after, cause, False, True
        if slot.state != "stopping":
            self._to_stop[slot.name] = slot

    def _stop_now(self, slot: Slot, after: After, cause: str) -> None:
        self._stop_later(slot, after, cause)
        if slot.state != "stopping":
            self._ask_one(slot)

    def _ask_one(self, slot: Slot) -> None:
        self._move(slot, "stopping", f"stopping {slot.cause}")
        if slot.child.stop_timeout_ns == 0:
            self._kill(slot, "at_once")
        elif not slot.is_killed:
            self._actions.append(Shutdown(slot.name, slot.incarnation))
            if slot.child.stop_timeout_ns is not None:
                self._set_timer(slot, self._now + slot.child.stop_timeout_ns)

    def _kill(self, slot: Slot, why: KillCause) -> None:
        if not slot.is_killed:
            slot.is_killed, slot.wake = True, None
            self._actions.append(Kill(slot.name, slot.incarnation, why))

    def _set_timer(self, slot: Slot, when: int) -> None:
        slot.wake = when
        heappush(self._timers, (when, slot.name, slot.incarnation))

    def _is_live(self, when: int, name: str, incarnation: int) -> bool:
        slot = self._slots.get(name)
        return slot is not None and slot.wake == when and slot.incarnation == incarnation

    def _current(self, name: str, incarnation: int) -> Slot | None:
        """The child, if its living incarnation is meant: news of an earlier one decide nothing."""
        slot = self._slots.get(name)
        return slot if slot is not None and slot.is_alive and slot.incarnation == incarnation else None

    # The list of children

    def _why_not_add(self, spec: Child) -> str | None:
        slot = self._slots.get(spec.name)
        if self._ending:
            return "the supervisor is stopping"
        if slot is not None:
            return "already started" if slot.is_alive else "already present"
        if spec.dynamic and self._max_children is not None:
            count = sum(slot.child.dynamic for slot in self._slots.values())
            if count >= self._max_children:
                return f"too many children: limit {self._max_children}"
        return self._why_not_take(spec)

    def _why_not_take(self, spec: Child) -> str | None:
        return f"unknown group {spec.group}" if spec.group is not None and spec.group not in self._roster.groups else None

    def _insert(self, spec: Child, *, start: bool) -> None:
        slot = self._roster.insert(spec)
        if start:
            self._move(slot, "waiting", "start")
        else:
            self._actions.append(Changed(slot.name, slot.state, slot.decision))

    def _forget(self, slot: Slot) -> None:
        self._roster.forget(slot)
        self._actions.append(Removed(slot.name))
