"""What a reload would do, line by line."""

import pytest
from msgspec import structs

from actorsys.spec import AgentSpec, BudgetSpec, LlmSpec, MailboxSpec, PriceSpec, RateSpec, RestartSpec
from actorsys.supervision.plan import Entry, differences, plan
from actorsys.units import Seconds


def agent(name: str = "counter", **options: object) -> AgentSpec:
    return AgentSpec(name=name, **{"type": "shop:Counter", **options})  # type: ignore[arg-type]


def lines(old: list[AgentSpec], new: list[AgentSpec]) -> list[str]:
    return [str(entry) for entry in plan(old, new)]


LLM = {"default": LlmSpec(fallback=("other",), rate=RateSpec(requests=5)), "other": LlmSpec(), "unused": LlmSpec()}


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"default": structs.replace(LLM["default"], model="m")}, ["~ counter/0  restart  llm.default.model added: 'm'"]),
        (
            {"default": structs.replace(LLM["default"], rate=RateSpec(requests=9))},
            ["~ counter/0  llm.default.rate.requests: 5 -> 9"],
        ),
        ({"other": LlmSpec(price=PriceSpec(input=1.0))}, ["~ counter/0  llm.other.price.input: 0.0 -> 1.0"]),
        (
            {"other": LlmSpec(budget=BudgetSpec(tokens=9))},
            ["~ counter/0  restart  llm.other.limited added: True; llm.other.budget.tokens: 0 -> 9"],
        ),
        ({"unused": LlmSpec(model="m")}, []),
        ({"more": LlmSpec()}, []),
    ],
)
def test_a_change_of_a_profile_restarts_who_was_told_of_it(change: dict[str, LlmSpec], shown: list[str]) -> None:
    assert [str(entry) for entry in plan([agent()], [agent()], LLM, {**LLM, **change})] == shown


def test_another_profile_is_one_difference_and_a_first_budget_makes_it_two() -> None:
    assert [str(entry) for entry in plan([agent()], [agent(llm="other")], LLM, LLM)] == [
        "~ counter/0  restart  llm: 'default' -> 'other'"
    ]
    (entry,) = plan([agent(llm="other")], [agent(llm="other", budget=BudgetSpec(tokens=5))], LLM, LLM)
    assert str(entry) == "~ counter/0  restart  budget.tokens: 0 -> 5; llm.other.limited added: True"


def test_the_same_is_no_difference() -> None:
    assert plan([agent(args={"start": 5})], [agent(args={"start": 5})]) == []


def test_one_changed_one_removed_one_added_two_kept() -> None:
    """C11"""
    old = [agent("a"), agent("b", args={"n": 1}), agent("c"), agent("d")]
    new = [agent("a"), agent("b", args={"n": 2}), agent("d"), agent("e")]
    assert plan(old, new) == [
        Entry("-", "c/0", "c", "not in the file any more"),
        Entry("~", "b/0", "b", "args.n: 1 -> 2", restart=True),
        Entry("+", "e/0", "e"),
    ]


def test_replicas_touch_only_the_difference() -> None:
    """C12"""
    three, five, two = (agent(replicas=count) for count in (3, 5, 2))
    assert lines([three], [five]) == ["+ counter/3", "+ counter/4"]
    assert lines([five], [two]) == [
        "- counter/4  replicas: 5 -> 2",
        "- counter/3  replicas: 5 -> 2",
        "- counter/2  replicas: 5 -> 2",
    ]


def test_a_change_with_more_replicas_restarts_the_old_and_adds_the_new() -> None:
    assert lines([agent()], [agent(replicas=2, memory="sqlite")]) == [
        "~ counter/0  restart  memory: 'in_memory' -> 'sqlite'",
        "+ counter/1",
    ]


@pytest.mark.parametrize(
    ("change", "text", "restart"),
    [
        ({"type": "shop:Other"}, "type: 'shop:Counter' -> 'shop:Other'", True),
        ({"args": {"start": 1}}, "args.start added: 1", True),
        ({"env": {"KEY": "secret"}}, "env.KEY added", True),
        ({"concurrency": 4}, "concurrency: 1 -> 4", True),
        ({"launch": "fresh"}, "launch: 'auto' -> 'fresh'", True),
        ({"restart": RestartSpec(max_restarts=9)}, "restart.max_restarts: 5 -> 9", False),
        ({"restart": RestartSpec(type="transient")}, "restart.type: 'permanent' -> 'transient'", False),
        ({"mailbox": MailboxSpec(size=8)}, "mailbox.size: 1000 -> 8", False),
        ({"mailbox": MailboxSpec(durability="disk")}, "mailbox.durability: 'memory' -> 'disk'", True),
        ({"depends_on": ("store",)}, "depends_on: () -> ('store',)", False),
        ({"stop_timeout": Seconds(1)}, "stop_timeout: 5.0 -> 1.0", False),
    ],
)
def test_which_changes_need_a_new_process(change: dict[str, object], text: str, restart: bool) -> None:
    """A08: what needs none is applied to the running agent, and costs it nothing."""
    assert plan([agent()], [agent(**change)]) == [Entry("~", "counter/0", "counter", text, restart)]


def test_a_setting_that_is_new_to_us_needs_a_new_process() -> None:
    known = {field for field in AgentSpec.__struct_fields__ if field not in ("name", "replicas")}
    gentle = {"restart", "mailbox", "depends_on", "start_timeout", "stop_timeout", "hang_timeout"}
    assert gentle < known


def test_values_of_the_environment_are_not_shown() -> None:
    texts = [text for _, text in differences(agent(env={"A": "secret", "B": "old"}), agent(env={"B": "new"}))]
    assert texts == ["env.A removed", "env.B changed"]


def test_long_values_are_cut() -> None:
    ((_, text),) = differences(agent(args={"text": "x" * 100}), agent(args={"text": "y"}))
    assert len(text) < 70
