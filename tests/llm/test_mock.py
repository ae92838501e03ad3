"""The mock answers alike each time, follows its script, and fails as it is told to."""

import asyncio
import json

import pytest

from actorsys import BadModelCall, ConfigError, ModelAuthError, ModelUnavailable
from actorsys.llm.base import Call, Completion, ToolCall, Turn, Usage
from actorsys.llm.mock import GARBAGE, MockProvider, Rule, Scripted, read_script


def call(text="It is warm. Very.", **more):
    return Call((Turn("user", text),), **more)


def complete(mock, *texts, **more):
    async def run():
        return [await mock.complete(call(text, **more)) for text in texts]

    return asyncio.run(run())


def test_the_same_call_has_the_same_answer():
    first, second = (complete(MockProvider(), "It is warm. Very.")[0] for _ in range(2))
    assert (first.text, first.usage, first.model, first.provider, first.stop) == (
        "It is warm. Very.",
        Usage(4, 4),
        "mock",
        "mock",
        "end",
    )
    assert second.text == first.text


def test_a_rule_is_used_for_what_it_matches_and_as_often_as_it_says():
    mock = MockProvider([Rule(match="warm", times=2, text="yes"), Rule(match="cold", json={"a": [1]})])
    texts = [answer.text for answer in complete(mock, "warm", "cold", "warm", "It is warm.", "cold")]
    assert texts == ["yes", '{"a": [1]}', "yes", "It is warm.", '{"a": [1]}']
    assert len(mock.calls) == 5


@pytest.mark.parametrize("wrong", ["retry_after = nan", "retry_after = inf", "retry_after = -1.0", "delay = nan"])
def test_a_wait_that_is_no_time_is_no_script(tmp_path, wrong):
    script = tmp_path / "rules.toml"
    script.write_text(f"[[rules]]\nerror = 429\n{wrong}\n")
    with pytest.raises(ConfigError, match="no number of seconds"):
        read_script(script)


def test_tools_are_called_by_the_script_only():
    mock = MockProvider([Rule(times=1, tool_calls=(Scripted("add", {"a": 1}), Scripted("now")))])
    first, second = complete(mock, "x", "x")
    assert (first.stop, first.text) == ("tool", "")
    assert first.tool_calls == (ToolCall("call-1-1", "add", {"a": 1}), ToolCall("call-1-2", "now"))
    assert second.tool_calls == ()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, ModelUnavailable), (500, ModelUnavailable), (529, ModelUnavailable), (408, ModelUnavailable),
        (401, ModelAuthError), (402, ModelAuthError), (403, ModelAuthError),
        (400, BadModelCall), (404, BadModelCall), (413, BadModelCall), (422, BadModelCall),
    ],
)  # fmt: skip
def test_an_error_of_the_script_is_what_a_provider_would_raise(status, kind):
    mock = MockProvider([Rule(error=status, retry_after=2.0)])
    with pytest.raises(kind) as caught:
        complete(mock, "x", model="m")
    assert (type(caught.value), caught.value.status, caught.value.provider, caught.value.model) == (kind, status, "mock", "m")
    assert getattr(caught.value, "retry_after", None) == (2.0 if kind is ModelUnavailable else None)


@pytest.mark.parametrize("rule", [Rule(error="timeout"), Rule(delay=60.0, text="late")])
def test_a_call_that_takes_too_long_ends_in_time(rule):
    with pytest.raises(ModelUnavailable, match="no answer in time"):
        complete(MockProvider([rule]), "x", timeout=0.01)


def test_garbage_is_text_that_is_cut_off():
    text = complete(MockProvider([Rule(error="garbage")]), "x", schema={"type": "object"})[0].text
    assert text == GARBAGE
    with pytest.raises(ValueError):
        json.loads(text)


def test_an_answer_ends_where_max_tokens_says():
    answer = complete(MockProvider([Rule(text="one two three")]), "x", max_tokens=2)[0]
    assert (answer.text, answer.stop) == ("one two", "length")


def test_a_stream_gives_the_text_in_pieces_and_then_the_completion():
    async def run():
        return [piece async for piece in MockProvider([Rule(text="one two  three", usage=Usage(7, 8))]).stream(call())]

    *pieces, last = asyncio.run(run())
    assert pieces == ["one", " two", "  three"]
    assert isinstance(last, Completion)
    assert (last.text, last.usage) == ("one two  three", Usage(7, 8))


TOML = '[[rules]]\nmatch = "x"\ntimes = 1\nerror = 429\nretry_after = 0.5\n[[rules]]\ntool_calls = [{ name = "add", arguments = { a = 1 } }]\n'
JSON = '[{"match": "x", "times": 1, "error": 429, "retry_after": 0.5}, {"tool_calls": [{"name": "add", "arguments": {"a": 1}}]}]'


@pytest.mark.parametrize(("name", "text"), [("s.toml", TOML), ("s.json", JSON)])
def test_a_script_is_read_from_toml_and_json(name, text, tmp_path):
    (tmp_path / name).write_text(text)
    wanted = (Rule(match="x", times=1, error=429, retry_after=0.5), Rule(tool_calls=(Scripted("add", {"a": 1}),)))
    assert read_script(tmp_path / name) == wanted


@pytest.mark.parametrize("text", ["[[rules]]\nmtach = 1", '[[rules]]\nmatch = "("', "rules", '[[rules]]\nerror = "slow"'])
def test_a_wrong_script_is_a_config_error_that_names_the_file(text, tmp_path):
    (tmp_path / "s.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"s\.toml"):
        MockProvider(tmp_path / "s.toml")
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        MockProvider(str(tmp_path / "missing.toml"))
