"""The core against its oracle and in a fake operating system; and both of these against bugs that were planted."""

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from actorsys.spec import GroupSpec, RestartSpec
from actorsys.supervision.core import (
    Action,
    Add,
    AnyEvent,
    Child,
    Drained,
    Exited,
    KillChild,
    LaunchFailed,
    Ready,
    Remove,
    RestartChild,
    Start,
    StartChild,
    Stop,
    StopChild,
    Tick,
    Unresponsive,
)
from actorsys.units import Seconds
from tests.model import planted
from tests.model.lockstep import Lockstep
from tests.model.simulate import simulate

S = 1_000_000_000
NAMES = ["d", "b", "e", "a", "c"]
SEEDS = 200
STRATEGIES = st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])

restarts = st.builds(
    RestartSpec,
    type=st.sampled_from(["permanent", "permanent", "transient", "temporary"]),
    max_restarts=st.integers(0, 3),
    window=st.sampled_from([Seconds(1), Seconds(3)]),
    backoff=st.just(Seconds(0.5)),
    backoff_max=st.just(Seconds(1.5)),
    jitter=st.just(0.0),
    reset_after=st.sampled_from([Seconds(1), Seconds(2)]),
    exit_ok=st.just((0, 42)),
)


def children(name: str, groups: list[str], *, dynamic: bool = False) -> st.SearchStrategy[Child]:
    others = [other for other in NAMES if other < name]  # no cycles: the config refuses them
    return st.builds(
        Child,
        name=st.just(name),
        restart=restarts,
        start_timeout_ns=st.just(2 * S),
        stop_timeout_ns=st.sampled_from([0, S, None]),
        depends_on=st.lists(st.sampled_from(others), max_size=1).map(tuple) if others else st.just(()),
        group=st.sampled_from([None, *groups]),
        dynamic=st.just(dynamic) if not dynamic else st.booleans(),
    )


class Machine(RuleBasedStateMachine):
    """Any event at any time, on a clock of half seconds, so that deaths land on the edges of windows."""

    @initialize(
        data=st.data(), strategy=STRATEGIES, max_restarts=st.sampled_from([0, 0, 2]), max_starting=st.sampled_from([1, 2, 8])
    )
    def begin(self, data: st.DataObject, strategy: str, max_restarts: int, max_starting: int) -> None:
        names = data.draw(st.sampled_from([[], ["g"], ["g", "h"]]))
        self.groups = [
            GroupSpec(name=name, strategy=data.draw(STRATEGIES), max_restarts=data.draw(st.sampled_from([0, 2])), window=Seconds(2))
            for name in names
        ]  # fmt: skip
        count = data.draw(st.integers(1, 4))
        listed = [data.draw(children(name, names)) for name in NAMES[:count]]
        self.now = 0
        self.machine = Lockstep(
            listed, strategy=strategy, max_restarts=max_restarts, window=2.0, groups=self.groups, max_starting=max_starting
        )
        self.do(Start())

    def do(self, event: AnyEvent) -> list[Action]:
        return self.machine.handle(event, self.now)

    def some(self, data: st.DataObject, *states: str) -> tuple[str, int] | None:
        views = [view for view in self.machine.core.children.values() if view.state in states]
        if not views:
            return None
        view = data.draw(st.sampled_from(views))
        return view.name, view.incarnation

    @rule(data=st.data())
    def ready(self, data: st.DataObject) -> None:
        if who := self.some(data, "starting"):
            self.do(Ready(*who))

    @rule()
    def all_ready(self) -> None:
        for _ in range(5):
            for view in self.machine.core.children.values():
                if view.state == "starting":
                    self.do(Ready(view.name, view.incarnation))

    @rule(
        data=st.data(),
        reason=st.sampled_from(["normal", "shutdown", "crashed", "killed"]),
        ended=st.booleans(),
        poison=st.sampled_from([None, None, "m1"]),
    )
    def exited(self, data: st.DataObject, reason: str, ended: bool, poison: str | None) -> None:
        if who := self.some(data, "starting", "running", "draining", "stopping"):
            self.do(Exited(*who, reason, ended=ended and reason == "normal", poison=poison))  # type: ignore[arg-type]

    @rule(data=st.data(), code=st.sampled_from([0, 1, 42]))
    def exited_with_a_code(self, data: st.DataObject, code: int) -> None:
        if who := self.some(data, "running", "stopping"):
            self.do(Exited(*who, "exit_code", code))

    @rule()
    def all_asked_are_gone(self) -> None:
        for view in self.machine.core.children.values():
            if view.state == "stopping":
                self.do(Exited(view.name, view.incarnation, "shutdown"))

    @rule(data=st.data())
    def launch_failed(self, data: st.DataObject) -> None:
        if who := self.some(data, "starting"):
            self.do(LaunchFailed(*who))

    @rule(data=st.data(), make=st.sampled_from([Ready, Drained, Unresponsive, LaunchFailed]), age=st.sampled_from([0, 0, 1]))
    def news(self, data: st.DataObject, make: type[Ready], age: int) -> None:
        if who := self.some(data, "waiting", "starting", "running", "backoff", "draining", "stopping", "stopped", "failed"):
            self.do(make(who[0], who[1] - age))

    @rule(
        name=st.sampled_from([*NAMES, "nobody"]),
        make=st.sampled_from([StartChild, StopChild, RestartChild, KillChild, lambda name: StopChild(name, drain=True)]),
    )
    def command(self, name: str, make: type[StartChild]) -> None:
        self.do(make(name))

    @rule(name=st.sampled_from(NAMES), force=st.booleans())
    def remove(self, name: str, force: bool) -> None:
        self.do(Remove(name, force))

    @rule(data=st.data(), name=st.sampled_from(NAMES), start=st.booleans())
    def add(self, data: st.DataObject, name: str, start: bool) -> None:
        self.do(Add(data.draw(children(name, [group.name for group in self.groups], dynamic=True)), start))

    @rule(steps=st.sampled_from([1, 1, 2, 3, 6]))
    def time_passes(self, steps: int) -> None:
        self.now += steps * S // 2
        self.do(Tick())

    @precondition(lambda self: hasattr(self, "machine") and self.machine.core.next_wake() is not None)
    @rule()
    def a_timer_goes_off(self) -> None:
        self.now = max(self.now, self.machine.core.next_wake())
        self.do(Tick())

    @rule(chance=st.integers(0, 9), kill=st.booleans())
    def stop(self, chance: int, kill: bool) -> None:
        if chance == 0:
            self.do(Stop(kill))


def run_machine(examples: int, *, is_bug_expected: bool = False) -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            phases=[Phase.generate] if is_bug_expected else [Phase.generate, Phase.shrink],
        ),
    )


@pytest.mark.slow
def test_core_and_oracle_agree_whatever_happens() -> None:
    run_machine(examples=400)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, SEEDS, 50))
def test_a_simulated_life_keeps_all_promises(start: int) -> None:
    for seed in range(start, start + 50):
        simulate(seed)


def test_a_seed_is_a_life() -> None:
    assert simulate(7).trace == simulate(7).trace


def is_red(bug: planted.Patch, *, with_oracle: bool) -> bool:
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        for seed in range(SEEDS):
            try:
                simulate(seed, with_oracle=with_oracle)
            except (AssertionError, ValueError, KeyError):
                return True
    return False


@pytest.mark.parametrize("bug", planted.BUGS, ids=lambda bug: bug.__name__)
def test_the_simulation_finds(bug: planted.Patch) -> None:
    assert is_red(bug, with_oracle=True)


SEEN_FROM_OUTSIDE = [
    bug for bug in planted.BUGS if bug.__name__ not in ("temporary_bystander_restarted", "backoff_that_never_grows")
]


@pytest.mark.slow
@pytest.mark.parametrize("bug", SEEN_FROM_OUTSIDE, ids=lambda bug: bug.__name__)
def test_the_invariants_alone_find(bug: planted.Patch) -> None:
    assert is_red(bug, with_oracle=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "bug",
    [
        planted.intensity_switched_off,
        planted.limit_one_too_high,
        planted.commanded_stop_is_restarted,
        planted.start_order_reversed,
        planted.backoff_that_outlives_a_stop,
        planted.old_news_believed,
    ],
    ids=lambda bug: bug.__name__,
)
def test_the_state_machine_finds(bug: planted.Patch) -> None:
    with pytest.MonkeyPatch.context() as patch:
        bug(patch)
        with pytest.raises((AssertionError, ValueError, KeyError)):
            run_machine(examples=100, is_bug_expected=True)
