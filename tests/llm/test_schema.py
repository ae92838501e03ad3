import json
import re
import time
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from actorsys import DefinitionError
from actorsys.llm.schema import arguments_type, json_in, strict_schema, tool_spec, why_not_strict


class Low(Struct, tag=True):
    by: int


class High(Struct, tag=True):
    """A lot."""

    by: float


class Node(Struct):
    name: str
    below: list["Node"] = []


class Report(Struct):
    """What was found."""

    title: Annotated[str, Meta(max_length=80, description="one line")]
    count: Annotated[int, Meta(ge=0)]
    level: Low | High
    mood: Literal["good", "bad"] = "good"
    note: str | None = None
    parts: list[Low] = []


GOLDEN = {
    "type": "object",
    "properties": {
        "title": {"type": "string", "description": "one line\nmaxLength: 80"},
        "count": {"type": "integer", "description": "minimum: 0"},
        "level": {"anyOf": [{"$ref": "#/$defs/Low"}, {"$ref": "#/$defs/High"}]},
        "mood": {"type": "string", "enum": ["bad", "good"], "description": 'Default: "good"'},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Low"}, "description": "Default: []"},
    },
    "required": ["title", "count", "level", "mood", "note", "parts"],
    "additionalProperties": False,
    "description": "What was found.",
    "$defs": {
        "Low": {
            "type": "object",
            "properties": {"type": {"type": "string", "enum": ["Low"]}, "by": {"type": "integer"}},
            "required": ["type", "by"],
            "additionalProperties": False,
        },
        "High": {
            "type": "object",
            "properties": {"type": {"type": "string", "enum": ["High"]}, "by": {"type": "number"}},
            "required": ["type", "by"],
            "additionalProperties": False,
            "description": "A lot.",
        },
    },
}


def test_the_schema_of_a_struct_is_closed_inlined_and_requires_everything():
    assert strict_schema(Report) == GOLDEN
    assert why_not_strict(GOLDEN) is None


def test_a_struct_that_holds_itself_stands_at_the_root_and_among_the_definitions():
    below = {"type": "array", "items": {"$ref": "#/$defs/Node"}, "description": "Default: []"}
    node = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "below": below},
        "required": ["name", "below"],
        "additionalProperties": False,
    }
    assert strict_schema(Node) == {**node, "$defs": {"Node": node}}
    assert why_not_strict(strict_schema(Node)) is None


@pytest.mark.parametrize(
    ("type", "said"),
    [
        (dict[str, int], "is a dict"),
        (Any, "may be anything"),
        (tuple[int, str], "tuple of given length"),
    ],
)
def test_what_has_no_strict_form_is_refused_by_the_name_of_the_field(type, said):
    for shape in (type, list[type]):
        loose = msgspec.defstruct("Loose", [("field", shape)])
        with pytest.raises(TypeError, match=rf"Loose\.field .*{said}|Loose\.field {said}"):
            strict_schema(loose)


@pytest.mark.parametrize("type", [int, list[Low], Report | None, Low | High, Literal["a"], dict, Enum("Mood", "good bad")])
def test_what_is_no_struct_is_refused_by_its_name(type):
    with pytest.raises(DefinitionError, match=re.escape(f"{type} is no Struct")):
        strict_schema(type)


def test_the_plain_schema_of_msgspec_is_not_strict():
    assert why_not_strict(msgspec.json.schema(Report)) == "the root is no object"
    assert why_not_strict({**GOLDEN, "required": ["title"]}) == "root does not require all its properties"


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "array", "items": {"type": "string"}}, "the root is no object"),
        ({"type": "object", "properties": {}}, "root does not say additionalProperties: false"),
        ({"a": {}}, "root.a has no type"),
        ({"a": {"type": "array"}}, "root.a has no items"),
        ({"a": {"type": "string", "default": "x"}}, "root.a has default"),
        ({"a": {"anyOf": [{"type": "object"}]}}, "root.a.anyOf[0] does not say additionalProperties: false"),
        ({"a": {"$ref": "#/$defs/B"}}, "root.a refers to #/$defs/B, which is not there"),
        ({"a": True}, "root.a is no schema"),
    ],
)
def test_each_rule_that_is_broken_is_named(schema, why):
    if "type" not in schema:
        schema = {"type": "object", "properties": schema, "required": list(schema), "additionalProperties": False}
    assert why_not_strict(schema) == why


async def weather(
    city: str,
    days: Annotated[int, Meta(ge=1)] = 3,
    unit: Literal["C", "F"] = "C",
) -> str:
    """The weather of the next days.

    Rain included.

    Args:
        city: where
        unit (str): degrees
    """
    return f"{city} {days} {unit}"


def test_a_function_becomes_a_tool():
    spec = tool_spec(weather)
    assert (spec.name, spec.description) == ("weather", "The weather of the next days.\n\nRain included.")
    assert spec.parameters == {
        "type": "object",
        "properties": {
            "city": {"type": "string", "description": "where"},
            "days": {"type": "integer", "description": "minimum: 1\nDefault: 3"},
            "unit": {"type": "string", "enum": ["C", "F"], "description": 'degrees\nDefault: "C"'},
        },
        "required": ["city", "days", "unit"],
        "additionalProperties": False,
    }


def test_the_arguments_of_a_tool_are_decoded_by_its_types():
    type = arguments_type(weather)
    assert msgspec.structs.asdict(msgspec.convert({"city": "Rome"}, type)) == {"city": "Rome", "days": 3, "unit": "C"}
    for wrong in ({}, {"city": 1}, {"city": "Rome", "days": 0}, {"city": "Rome", "extra": 1}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, type)


def test_a_bound_method_is_a_tool_without_its_self():
    class Shop:
        def price(self, of: str, tags: list[str] = ["new"]) -> float:  # noqa: B006
            """What it costs."""
            return 1.0

    spec = tool_spec(Shop().price)
    assert (spec.name, list(spec.parameters["properties"])) == ("price", ["of", "tags"])
    assert msgspec.convert({"of": "tea"}, arguments_type(Shop().price)).tags == ["new"]


def test_a_tool_with_a_dict_is_offered_as_it_is():
    def set_all(values: dict[str, int]) -> None:
        """Set them."""

    spec = tool_spec(set_all)
    assert spec.parameters["properties"] == {"values": {"type": "object", "additionalProperties": {"type": "integer"}}}
    assert why_not_strict(spec.parameters) is not None


def test_a_function_that_cannot_be_a_tool_says_why():
    def untyped(a):
        pass

    def many(*numbers: int):
        pass

    with pytest.raises(TypeError, match=r"untyped\(\) cannot be a tool: parameter a has no annotation"):
        tool_spec(untyped)
    with pytest.raises(TypeError, match=r"many\(\) cannot be a tool: \*numbers: int cannot be given by name"):
        tool_spec(many)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_json_is_found_in_what_a_model_says(value):
    if not isinstance(value, (list, dict)):
        value = {"value": value}
    text = json.dumps(value)
    assert json_in(text) == text
    assert json.loads(json_in(f"Here you are:\n```json\n{text}\n```\nGood luck!")) == value


def test_a_text_without_json_stays_as_it_is():
    assert json_in("no {braces that} close [") == "no {braces that} close ["


@pytest.mark.parametrize("text", ["x" + "{" * 300_000, "x" + "[1,{" * 200_000, '{"a": 1' * 100_000])
def test_a_text_full_of_braces_is_soon_given_up(text):
    began = time.perf_counter()
    assert json_in(text) == text
    assert time.perf_counter() - began < 2.0  # with a try at each brace: minutes
