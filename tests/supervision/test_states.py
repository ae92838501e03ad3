"""The table of moves, and that it is the truth."""

from typing import get_args

import pytest

from actorsys.spec import AgentSpec, RestartSpec
from actorsys.supervision.core import RestartChild, StopChild
from actorsys.supervision.states import ALIVE, MOVES, Child, Slot, State, child, move
from tests.model.simulate import simulate
from tests.supervision.rig import Rig

STATES: tuple[State, ...] = get_args(State)


def test_every_state_has_its_moves() -> None:
    assert set(MOVES) == set(STATES)


@pytest.mark.parametrize("state", STATES)
def test_every_state_can_be_reached_and_left(state: State) -> None:
    assert MOVES[state]
    assert any(state in targets for targets in MOVES.values())


@pytest.mark.parametrize("state", STATES)
def test_only_a_waiting_child_is_started(state: State) -> None:
    assert ("starting" in MOVES[state]) == (state == "waiting")


def test_a_move_that_is_not_listed_raises() -> None:
    slot = Slot(Child(name="a"), rank=0)
    with pytest.raises(ValueError, match="a: no move from stopped to running"):
        move(slot, "running", "by magic")


@pytest.mark.slow
def test_each_listed_move_is_made_by_some_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """A move that nothing ever makes has no business in the table."""
    made: set[tuple[str, str]] = set()

    def spy(slot: Slot, state: State, decision: str) -> None:
        made.add((slot.state, state))
        move(slot, state, decision)

    monkeypatch.setattr("actorsys.supervision.core.move", spy)
    for seed in range(600):
        simulate(seed, with_oracle=False)
    listed = {(state, target) for state, targets in MOVES.items() for target in targets}
    # The rarest of all: told to start again while it drained, then doomed with its group, then dead before its turn.
    assert listed - made <= {("draining", "failed")}


def test_a_timer_belongs_to_its_state_only() -> None:
    rig = Rig.with_all_up(Child(name="a"))
    rig.do(StopChild("a"))
    assert rig.core.next_wake() == 5_000_000_000
    rig.dies("a", "shutdown")
    assert rig.core.next_wake() is None


def test_what_may_be_alive_and_what_not() -> None:
    assert set(ALIVE) == {"starting", "running", "draining", "stopping"}


def test_a_child_is_made_of_an_agent_spec() -> None:
    spec = AgentSpec(name="counter", type="shop:Counter", depends_on=("store",), restart=RestartSpec(max_restarts=2))
    made = child(spec, "counter/1", replica=1, group="shop", dynamic=True)
    assert made == Child(
        name="counter/1",
        restart=RestartSpec(max_restarts=2),
        start_timeout_ns=10_000_000_000,
        stop_timeout_ns=5_000_000_000,
        depends_on=("store",),
        group="shop",
        dynamic=True,
        replica=1,
    )


def test_a_view_shows_what_ps_needs() -> None:
    rig = Rig.with_all_up(Child(name="a"))
    rig.dies("a")
    rig.ready("a")
    rig.dies("a")
    view = rig.core.view("a")
    assert (view.state, view.incarnation, view.deaths, view.restarts) == ("backoff", 2, 2, 1)
    assert view.next_start_ns == rig.core.next_wake()
    assert "(2 of 5 deaths in 30s)" in view.decision


def test_a_restart_by_command_is_no_restart_of_ours() -> None:
    rig = Rig.with_all_up(Child(name="a"))
    rig.do(RestartChild("a"))
    rig.dies("a", "shutdown")
    assert (rig.core.view("a").incarnation, rig.core.view("a").restarts) == (2, 0)
