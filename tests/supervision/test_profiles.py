"""What a process is told of models, and what it is not."""

import msgspec

from actorsys.llm.settings import Profile
from actorsys.spec import AgentSpec, BudgetSpec, LlmSpec, PriceSpec, RateSpec
from actorsys.supervision.profiles import told
from actorsys.units import Seconds

LLM = {
    "default": LlmSpec(provider="openai", timeout=Seconds(5), fallback=("a", "gone"), price=PriceSpec(input=1.0)),
    "a": LlmSpec(rate=RateSpec(requests=3)),
    "b": LlmSpec(budget=BudgetSpec(tokens=3)),
}


def agent(**more):
    return AgentSpec(name="x", type="m:C", **more)


def test_an_agent_is_told_of_its_profile_first_and_of_those_that_stand_in_for_it():
    assert told(agent(), LLM) == {
        "default": {"provider": "openai", "timeout": 5.0, "fallback": ("a", "gone")},
        "a": {"limited": True},
    }
    assert told(agent(llm="b"), LLM) == {"b": {"limited": True}}


def test_with_a_budget_of_its_own_every_call_is_asked_for():
    assert all(table["limited"] for table in told(agent(budget=BudgetSpec(usd=1.0)), LLM).values())


def test_what_is_told_can_travel_and_is_a_profile():
    tables = msgspec.msgpack.decode(msgspec.msgpack.encode(told(agent(), LLM)))
    assert msgspec.convert(tables["default"], Profile) == Profile(provider="openai", timeout=5.0, fallback=("a", "gone"))


def test_a_profile_that_is_not_there_is_nothing_to_tell():
    assert told(agent(llm="gone"), {}) == {}
