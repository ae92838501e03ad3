"""Order, rounds, and who shares a fate."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsys.spec import GroupSpec, Strategy
from actorsys.supervision.states import Child
from actorsys.supervision.strategy import Roster, order

LISTED = ["q", "b", "z", "a", "m"]


def roster(*children: Child, strategy: Strategy = "one_for_one", groups: tuple[GroupSpec, ...] = ()) -> Roster:
    made = Roster(strategy, groups)
    for child in children:
        made.insert(child).state = "running"
    return made


def sharing(made: Roster, dead: str) -> list[str]:
    return [slot.name for slot in made.sharing(made.slots[dead])]


def test_order_is_list_order() -> None:
    """B01"""
    assert order([Child(name=name) for name in LISTED]) == LISTED


def test_dependencies_are_pulled_ahead() -> None:
    children = [
        Child(name="web", depends_on=("cache", "db")),
        Child(name="mail"),
        Child(name="db"),
        Child(name="cache", depends_on=("db",)),
    ]
    assert order(children) == ["db", "cache", "web", "mail"]


def test_a_dependency_on_an_agent_is_one_on_all_its_replicas() -> None:
    children = [Child(name="web", depends_on=("db",)), Child(name="db/0"), Child(name="db/1")]
    assert order(children) == ["db/0", "db/1", "web"]


def test_an_unknown_dependency_and_a_cycle_lose_nobody() -> None:
    children = [Child(name="a", depends_on=("b", "ghost")), Child(name="b", depends_on=("a",)), Child(name="c")]
    assert sorted(order(children)) == ["a", "b", "c"]


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), min_size=1, max_size=10), st.randoms())
def test_what_is_depended_on_always_comes_first(wants: list[list[int]], random: Random) -> None:
    children = [
        Child(name=f"c{index}", depends_on=tuple(f"c{want}" for want in wanted if want < index))
        for index, wanted in enumerate(wants)
    ]
    random.shuffle(children)
    found = order(children)
    assert sorted(found) == sorted(child.name for child in children)
    for child in children:
        assert all(found.index(want) < found.index(child.name) for want in child.depends_on)


def test_a_child_added_before_what_it_depends_on_moves_behind_it() -> None:
    made = roster(Child(name="web", depends_on=("db",)), Child(name="mail"), Child(name="db"))
    assert sorted(made.slots, key=lambda name: made.slots[name].rank) == ["db", "web", "mail"]


@pytest.mark.parametrize(
    ("strategy", "expected"), [("one_for_one", []), ("one_for_all", ["q", "b", "a", "m"]), ("rest_for_one", ["a", "m"])]
)
def test_who_is_restarted_with_the_dead(strategy: Strategy, expected: list[str]) -> None:
    """A09, A11"""
    assert sharing(roster(*(Child(name=name) for name in LISTED), strategy=strategy), "z") == expected


def grouped(strategy: Strategy, group: Strategy) -> Roster:
    children = [Child(name="q"), Child(name="b", group="g"), Child(name="z"), Child(name="a", group="g"), Child(name="m")]
    return roster(*children, strategy=strategy, groups=(GroupSpec(name="g", strategy=group),))


@pytest.mark.parametrize(("group", "expected"), [("one_for_one", []), ("one_for_all", ["a"]), ("rest_for_one", ["a"])])
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_a_member_concerns_its_group_only(strategy: Strategy, group: Strategy, expected: list[str]) -> None:
    assert sharing(grouped(strategy, group), "b") == expected


@pytest.mark.parametrize(
    ("group", "expected"), [("one_for_one", ["a", "m"]), ("one_for_all", ["b", "a", "m"]), ("rest_for_one", ["a", "m"])]
)
def test_rest_for_one_takes_a_one_for_all_group_whole(group: Strategy, expected: list[str]) -> None:
    assert sharing(grouped("rest_for_one", group), "z") == expected


def test_rounds_that_meet_become_one() -> None:
    made = roster(*(Child(name=name) for name in LISTED))
    slots = made.slots
    made.new_round([slots["q"], slots["b"]])
    made.new_round([slots["z"], slots["a"]])
    assert slots["q"].round != slots["z"].round
    made.new_round([slots["b"], slots["z"]])
    assert len({slots[name].round for name in ("q", "b", "z", "a")}) == 1
    assert slots["m"].round is None


def test_one_alone_is_no_round() -> None:
    made = roster(*(Child(name=name) for name in LISTED))
    made.slots["b"].state = "failed"
    made.new_round([made.slots["q"], made.slots["b"]])
    assert made.slots["q"].round is None


def test_forgetting_leaves_no_trace() -> None:
    made = roster(Child(name="db"), Child(name="web/0", depends_on=("db",)))
    made.forget(made.slots["web/0"])
    made.forget(made.slots["db"])
    assert (made.slots, made._families, made._dependants, made._rounds) == ({}, {}, {}, {})
