"""A core, a clock that is moved by hand, and an operating system that does as it is told."""

from actorsys.supervision.core import (
    Action,
    AnyEvent,
    Changed,
    Child,
    Core,
    Exited,
    Kill,
    Launch,
    Ready,
    Shutdown,
    Start,
    Tick,
)
from actorsys.units import SECOND_NS


class Rig:
    """`with_all_up` answers every launch; afterwards each test says what happens, and `did` what the core made of it."""

    def __init__(self, *children: Child, **options: object) -> None:
        self.core = Core(children, **options)  # type: ignore[arg-type]
        self.now = 0
        self.did: list[Action] = []

    @classmethod
    def with_all_up(cls, *children: Child, **options: object) -> "Rig":
        rig = cls(*children, **options)
        rig.do(Start())
        rig.answer_launches()
        rig.did.clear()
        return rig

    def do(self, event: AnyEvent) -> list[Action]:
        actions = self.core.handle(event, self.now)
        self.did += actions
        return actions

    def ready(self, name: str) -> list[Action]:
        return self.do(Ready(name, self.incarnation(name)))

    def dies(self, name: str, reason: str = "crashed", exit_code: int | None = None, **more: object) -> list[Action]:
        return self.do(Exited(name, self.incarnation(name), reason, exit_code, **more))  # type: ignore[arg-type]

    def wait(self, seconds: float) -> list[Action]:
        """Let time pass; each timer of the core goes off when it is due."""
        end, actions = self.now + round(seconds * SECOND_NS), []
        while (wake := self.core.next_wake()) is not None and wake <= end:
            self.now = max(self.now, wake)
            actions += self.do(Tick())
        self.now = end
        return actions + self.do(Tick())

    def answer_launches(self) -> None:
        """Whoever is being started becomes ready, until nobody is."""
        while names := [name for name, view in self.core.children.items() if view.state == "starting"]:
            for name in names:
                self.ready(name)

    def answer_shutdowns(self) -> list[str]:
        """Whoever is asked to stop does so, until nobody is; the names in the order of asking."""
        order: list[str] = []
        while asked := [name for name in self.asked() if self.state(name) == "stopping"]:
            order += asked
            self.dies(asked[0], "shutdown", 0)
            order = list(dict.fromkeys(order))
        return order

    def asked(self) -> list[str]:
        known = self.core.children
        return [
            action.name
            for action in self.did
            if isinstance(action, (Shutdown, Kill))
            and action.name in known
            and known[action.name].incarnation == action.incarnation
        ]

    def state(self, name: str) -> str:
        return self.core.children[name].state

    def states(self) -> dict[str, str]:
        return {name: view.state for name, view in self.core.children.items()}

    def incarnation(self, name: str) -> int:
        return self.core.children[name].incarnation

    def incarnations(self) -> dict[str, int]:
        return {name: view.incarnation for name, view in self.core.children.items()}


def launched(actions: list[Action]) -> list[str]:
    return [action.name for action in actions if isinstance(action, Launch)]


def told_to_stop(actions: list[Action]) -> list[str]:
    return [action.name for action in actions if isinstance(action, Shutdown)]


def killed(actions: list[Action]) -> list[tuple[str, str]]:
    return [(action.name, action.why) for action in actions if isinstance(action, Kill)]


def decisions(actions: list[Action], name: str) -> list[str]:
    return [action.decision for action in actions if isinstance(action, Changed) and action.name == name]
