"""What the contract of providers does not reach: answers of servers that leave things out, and events that tell of failure."""

import json

import msgspec
import pytest

from actorsys.llm.base import Call, ToolCall, Turn, Usage
from actorsys.llm.wire import Failed, system_of, told_the_schema, tool_call
from actorsys.llm.wire_chat import Chat
from actorsys.llm.wire_messages import Messages
from actorsys.llm.wire_responses import Responses


def chat(**choice):
    return msgspec.json.encode({"choices": [choice]})


@pytest.mark.parametrize(
    ("arguments", "found", "problem"),
    [
        ('{"a": 1}', {"a": 1}, ""),
        ("", {}, ""),
        ({"a": 1}, {"a": 1}, ""),
        ("{", {}, "no valid JSON"),
        ("3", {}, "must be a JSON object, not int"),
        (None, {}, "must be a JSON object, not NoneType"),
        ('{"a":' * 5000 + "1" + "}" * 5000, {}, "no valid JSON"),
        ('{"a":' * 200 + "1" + "}" * 200, {}, "nested more than 100 deep"),
        ('{"a": 18446744073709551616}', {}, "cannot be stored"),
        ({"a": [2**64]}, {}, "cannot be stored"),
    ],
)
def test_arguments_are_read_or_their_problem_is_named(arguments, found, problem):
    call = tool_call("1", "f", arguments)
    assert call.arguments == found
    assert problem in call.problem
    assert bool(problem) == bool(call.problem)


def test_system_turns_are_put_together_wherever_they_stand():
    assert system_of((Turn("system", "one"), Turn("user", "x"), Turn("system", ""), Turn("system", "two"))) == "one\n\ntwo"


def test_a_schema_can_be_told_in_words():
    call = told_the_schema(Call((Turn("system", "Be kind."), Turn("user", "x")), schema={"type": "object"}))
    assert call.schema is None
    assert '{"type":"object"}' in system_of(call.turns)
    assert "Be kind." in system_of(call.turns)


def test_openai_itself_gets_the_newer_name_of_the_limit():
    call = Call((Turn("user", "x"),), max_tokens=7)
    assert Chat(is_openai=True).body(call)["max_completion_tokens"] == 7
    assert Chat().body(call)["max_tokens"] == 7


def test_chat_reads_what_lesser_servers_leave_out():
    bare = Chat().read(chat(message={"content": "hi"}))
    assert (bare.text, bare.stop, bare.usage, bare.model) == ("hi", "end", Usage(), "")
    tool = {"function": {"name": "f", "arguments": {"a": 1}}}
    called = Chat().read(chat(message={"content": None, "tool_calls": [tool, tool]}, finish_reason="stop"))
    assert called.stop == "tool"
    assert called.tool_calls == (ToolCall("", "f", {"a": 1}), ToolCall("", "f", {"a": 1}))


def test_chat_takes_a_refusal_for_held_back():
    found = Chat().read(chat(message={"content": None, "refusal": "No."}, finish_reason="stop"))
    assert (found.text, found.stop) == ("No.", "filter")


@pytest.mark.parametrize("wrong", [b"{}", b"[]", b"nothing", b'{"choices": []}', b'{"choices": [{"message": {"content": 3}}]}'])
def test_what_is_no_chat_answer_is_an_error(wrong):
    with pytest.raises(msgspec.MsgspecError):
        Chat().read(wrong)


@pytest.mark.parametrize("wire", [Chat(), Responses(), Messages()])
def test_a_stream_without_its_end_has_no_completion(wire):
    reader = wire.reader()
    assert reader.feed({"type": "ping", "choices": []}) == ""
    assert reader.completion() is None


@pytest.mark.parametrize(
    ("wire", "event", "kind"),
    [
        (Chat(), {"error": {"type": "server_error", "message": "oh"}}, "server_error"),
        (Chat(), {"error": "oh"}, ""),
        (Responses(), {"type": "error", "code": "rate_limit_exceeded", "message": "oh"}, "rate_limit_exceeded"),
        (Messages(), {"type": "error", "error": {"type": "overloaded_error", "message": "oh"}}, "overloaded_error"),
    ],
)
def test_an_event_that_tells_of_failure_raises(wire, event, kind):
    with pytest.raises(Failed, match="oh") as caught:
        wire.reader().feed(event)
    assert caught.value.kind == kind


def test_a_response_that_failed_raises_when_it_is_read():
    answer = {"status": "failed", "output": [], "error": {"code": "server_error", "message": "oh"}}
    with pytest.raises(Failed, match="oh"):
        Responses().read(msgspec.json.encode(answer))
    reader = Responses().reader()
    reader.feed({"type": "response.failed", "response": answer})
    with pytest.raises(Failed, match="oh"):
        reader.completion()


def test_a_response_can_hold_a_refusal_and_things_we_do_not_know():
    part = {"type": "refusal", "refusal": "No."}
    answer = {"status": "completed", "output": [{"type": "reasoning", "summary": []}, {"type": "message", "content": [part]}]}
    found = Responses().read(msgspec.json.encode(answer))
    assert (found.text, found.stop, found.usage) == ("No.", "filter", Usage())


def test_messages_counts_what_is_cached_as_input():
    usage = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 3, "output_tokens": 2}
    found = Messages().read(
        msgspec.json.encode({"content": [{"type": "thinking"}, {"type": "text", "text": "x"}], "usage": usage})
    )
    assert (found.text, found.usage) == ("x", Usage(18, 2, 5))


def test_messages_puts_turns_of_one_side_together_and_leaves_empty_ones_out():
    call = ToolCall("1", "f")
    turns = (
        Turn("user", "do"),
        Turn("assistant", "", (call, ToolCall("2", "f"))),
        Turn("tool", "a", tool_call_id="1"),
        Turn("tool", "b", tool_call_id="2"),
        Turn("user", "and?"),
        Turn("assistant", ""),
        Turn("user", "so?"),
    )
    messages = Messages().body(Call(turns))["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert [block["type"] for block in messages[2]["content"]] == ["tool_result", "tool_result", "text", "text"]


def test_an_event_of_a_chat_without_a_choice_does_not_end_the_stream():
    reader = Chat().reader()
    pieces = [
        {"id": "1", "object": "ping"},
        {"choices": None},
        {"choices": [{"delta": {"content": "hi"}, "finish_reason": "stop"}]},
        {"usage": {"prompt_tokens": 3, "completion_tokens": 1}},
    ]
    assert [reader.feed(piece) for piece in pieces] == ["", "", "hi", ""]
    assert (reader.completion().text, reader.completion().usage) == ("hi", Usage(3, 1))


@pytest.mark.parametrize(("count", "counted"), [(-100, 0), (None, 0), (7, 7), (10**30, 2**53)])
def test_no_wire_counts_less_than_nothing_or_more_than_can_be_told(count, counted):
    answers = {
        Chat(): {"choices": [{"message": {"content": "x"}}], "usage": {"prompt_tokens": count, "completion_tokens": count}},
        Messages(): {"content": [], "usage": {"input_tokens": count, "output_tokens": count}},
        Responses(): {"output": [], "usage": {"input_tokens": count, "output_tokens": count}},
    }
    for wire, answer in answers.items():
        assert wire.read(json.dumps(answer)).usage == Usage(counted, counted)
