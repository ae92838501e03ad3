"""The answers of the mock: sentences of the prompt, and values of a schema, made of it where that can be."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from actorsys.llm.base import Turn
from actorsys.llm.extract import agents_in, answer, planned, summary, value_of
from actorsys.llm.schema import strict_schema

AGENTS = [
    {"name": "scraper", "description": "fetches pages from web sites"},
    {"name": "Weather-Bot", "description": "knows the weather"},
    {"name": "writer", "capabilities": ["report", "summarize"]},
]


def asked(text, system=""):
    return ([Turn("system", system)] if system else []) + [Turn("user", text)]


def test_a_plain_prompt_is_answered_with_the_first_sentences_of_its_last_paragraph():
    assert answer(asked("Say it nicely.\n\nIt is 18 degrees. The sun shines. Take a hat.")) == "It is 18 degrees. The sun shines."


def test_results_of_tools_are_the_answer_when_they_came_last():
    turns = [*asked("How warm?"), Turn("assistant"), Turn("tool", "18", tool_call_id="a"), Turn("tool", "19", tool_call_id="b")]
    assert answer(turns) == "18 19"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([{"title": "Rome", "content": "It is warm. Very.", "source": "x"}, {"title": "", "content": "Rain fell."}]),
        'The texts: {"data": [{"title": "Rome", "content": "It is warm. Very."}, {"content": "Rain fell."}]}',
        "Summarize these.\n\n# Rome\nsource: x\nIt is warm. Very.\n\nRain fell. A lot.",
    ],
)
def test_a_summary_has_the_first_sentence_of_each_item(text):
    assert summary(text) == "Rome: It is warm. Rain fell."


def test_a_summary_of_nothing_says_so():
    assert summary("") == "There is nothing to sum up."


def test_agents_are_found_in_json_and_in_lines():
    wanted = {"scraper", "Weather-Bot", "writer"}
    assert agents_in(json.dumps({"available_agents": AGENTS})).keys() == wanted
    assert agents_in(f"Agents: {json.dumps(AGENTS)}").keys() == wanted
    assert agents_in("Agents:\n- scraper: fetches\n- Weather-Bot (knows)\n* `writer`: writes").keys() == wanted
    assert agents_in('{"available_agents": ["scraper", "writer"]}').keys() == {"scraper", "writer"}


def test_a_plan_gives_each_part_to_the_agent_that_it_is_about_and_orders_them():
    agents = agents_in(json.dumps(AGENTS))
    steps = planned("Fetch the pages and ask for the weather, then write a report.", agents)
    assert [(agent, after) for agent, _, after in steps] == [("scraper", []), ("Weather-Bot", []), ("writer", [0, 1])]


def test_a_task_that_is_about_none_of_them_goes_to_the_first():
    assert planned("Dance", {"a": "x", "b": "y"}) == [("a", "Dance", [])]


class Step(Struct):
    id: str
    agent: str
    task: str
    depends_on: list[str]


class Plan(Struct):
    steps: list[Step]


def test_a_value_for_a_plan_is_one():
    text = json.dumps({"task_description": "fetch the site, then report", "available_agents": AGENTS})
    plan = msgspec.convert(value_of(strict_schema(Plan), asked(text)), Plan)
    assert plan == Plan([Step("step1", "scraper", "fetch the site", []), Step("step2", "writer", "report", ["step1"])])


class Tree(Struct):
    label: str
    children: list["Tree"] = []
    note: str | None = None


class Form(Struct):
    city: str
    degrees: int
    share: float
    sure: bool
    kind: str | None
    tree: Tree


@given(st.text(max_size=200), st.text(max_size=50))
def test_a_value_is_of_its_schema_whatever_the_prompt(text, system):
    turns = asked(text, system)
    value = value_of(strict_schema(Form), turns)
    assert msgspec.convert(value, Form)
    assert value == value_of(strict_schema(Form), turns)


def test_a_value_takes_from_the_prompt_what_is_named_there():
    value = value_of(strict_schema(Form), asked("city: Rome\nIt has 18 degrees."))
    assert (value["city"], value["degrees"]) == ("Rome", 18)
