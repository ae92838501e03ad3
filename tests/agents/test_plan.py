"""Which plans can work, and in which order."""

import pytest

from actorsys.agents import Plan, Step
from actorsys.agents.plan import problems


def plan(**depends_on):
    return Plan([Step(id, "worker", depends_on=others) for id, others in depends_on.items()])


def test_each_step_comes_after_all_that_it_depends_on():
    order = [step.id for step in plan(last=["left", "right"], left=["first"], right=["first"], first=[]).in_order()]
    assert order[0] == "first"
    assert order[-1] == "last"


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (Plan([]), "there is no step"),
        (Plan([Step("a", "worker"), Step("a", "worker")]), "two steps have the id 'a'"),
        (Plan([Step("", "worker")]), "empty id"),
        (Plan([Step("a", "nobody")]), "'nobody', which is none of: worker, editor"),
        (plan(a=["b"]), "'a' depends on 'b', which is no step"),
        (plan(a=["a"]), "steps wait for each other: a -> a"),
        (plan(a=["b"], b=["c"], c=["a"]), "steps wait for each other: "),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_plan_that_cannot_work_is_told_why(wrong, words):
    (problem,) = problems(wrong, ["worker", "editor"])
    assert words in problem


def test_a_cycle_is_told_as_who_waits_for_whom():
    assert problems(plan(a=["b"], b=["a"])) in (
        ["steps wait for each other: a -> b -> a."],
        ["steps wait for each other: b -> a -> b."],
    )


def test_all_problems_are_told_at_once():
    assert len(problems(Plan([Step("a", "x", depends_on=["z"]), Step("a", "y")]), ["worker"])) == 4


def test_without_a_list_of_agents_any_name_will_do():
    assert problems(plan(a=[], b=["a"])) == []
