"""The core and its oracle side by side: each event goes to both, and both must do and show the same."""

from collections.abc import Iterable

from actorsys.spec import GroupSpec
from actorsys.supervision.core import (
    Action,
    AnyEvent,
    Child,
    Core,
    Drain,
    Escalated,
    Finished,
    Kill,
    Launch,
    Rejected,
    Removed,
    Shutdown,
)
from tests.model.supervision_oracle import Effect, Oracle


class Disagreement(AssertionError):
    pass


class Lockstep:
    def __init__(
        self,
        children: Iterable[Child],
        *,
        strategy: str = "one_for_one",
        max_restarts: int = 0,
        window: float = 60.0,
        groups: Iterable[GroupSpec] = (),
        max_starting: int = 8,
        core_class: type[Core] = Core,
    ) -> None:
        listed, groups = list(children), list(groups)
        self.core = core_class(
            listed, strategy=strategy, max_restarts=max_restarts, window=window, groups=groups, max_starting=max_starting
        )
        self.oracle = Oracle(listed, strategy, max_restarts, window, groups, max_starting)

    def handle(self, event: AnyEvent, now: int) -> list[Action]:
        actions = self.core.handle(event, now)
        did = [effect for action in actions if (effect := effect_of(action)) is not None]
        should = self.oracle.handle(event, now)
        if did != should:
            raise Disagreement(f"{event} at {now}: the core did {did}, the rules say {should}")
        shows = {view.name: (view.state, view.incarnation) for view in self.core.children.values()}
        is_so = {kid.name: (kid.state, kid.life) for kid in self.oracle.kids}
        if list(shows.items()) != list(is_so.items()):
            raise Disagreement(f"{event} at {now}: the core shows {shows}, the rules say {is_so}")
        wakes = [kid.timer for kid in self.oracle.kids if kid.timer is not None]
        if self.core.next_wake() != min(wakes, default=None):
            raise Disagreement(f"{event} at {now}: the core wakes at {self.core.next_wake()}, the rules say {sorted(wakes)}")
        return actions


def effect_of(action: Action) -> Effect | None:
    match action:
        case Launch() | Drain() | Shutdown() | Kill():
            return (type(action).__name__.lower(), action.name, str(action.incarnation))
        case Removed() | Rejected():
            return (type(action).__name__.lower(), action.name)
        case Escalated(group):
            return ("escalated", group or "")
        case Finished(reason):
            return ("finished", reason)
        case _:
            return None
