"""The responses API: OpenAI's newer one, which some compatible servers speak too. Pure."""

from typing import Any

import msgspec
from msgspec import Struct

from .base import Call, Completion, Stop, Turn
from .schema import why_not_strict
from .wire import Failed, Reader, system_of, text_of, tool_call, usage_of
from .wire_chat import function


class _Content(Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(Struct):
    type: str = ""
    content: list[_Content] | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None


class _Details(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _Details | None = None


class _Incomplete(Struct):
    reason: str | None = None


class _Error(Struct):
    code: str | None = None
    message: str | None = None


class _Answer(Struct):
    output: list[_Item]
    model: str | None = None
    status: str | None = None
    usage: _Usage | None = None
    incomplete_details: _Incomplete | None = None
    error: _Error | None = None


class Responses:
    path = "/responses"

    def body(self, call: Call) -> dict[str, Any]:
        items = [item for turn in call.turns if turn.role != "system" for item in _items(turn)]
        # We send the whole conversation each time, so nothing needs to be kept on their side.
        body: dict[str, Any] = {"model": call.model, "input": items, "max_output_tokens": call.max_tokens, "store": False}
        if system := system_of(call.turns):
            body["instructions"] = system
        if call.temperature is not None:
            body["temperature"] = call.temperature
        if call.tools:
            body["tools"] = [{"type": "function", **function(tool)} for tool in call.tools]
        if call.schema is not None:
            is_strict = why_not_strict(call.schema) is None
            body["text"] = {
                "format": {"type": "json_schema", "name": call.schema_name, "schema": call.schema, "strict": is_strict}
            }
        return body

    def read(self, answer: bytes | str) -> Completion:
        return _completion(msgspec.json.decode(answer, type=_Answer))

    def reader(self) -> Reader:
        return _Reader()


class _Reader:
    def __init__(self) -> None:
        self._answer: _Answer | None = None

    def feed(self, event: dict[str, Any]) -> str:
        match event.get("type"):
            case "response.output_text.delta" | "response.refusal.delta":
                return str(event.get("delta") or "")
            case "response.completed" | "response.incomplete" | "response.failed":
                self._answer = msgspec.convert(event.get("response"), _Answer)
            case "error":
                raise Failed(str(event.get("code") or ""), str(event.get("message") or "no reason given"))
        return ""

    def completion(self) -> Completion | None:
        return None if self._answer is None else _completion(self._answer)


def _completion(answer: _Answer) -> Completion:
    if answer.error is not None:
        raise Failed(answer.error.code or "", answer.error.message or "no reason given")
    parts = [part for item in answer.output if item.type == "message" for part in item.content or ()]
    tools = tuple(
        tool_call(item.call_id or "", item.name or "", item.arguments or "")
        for item in answer.output
        if item.type == "function_call"
    )
    stop: Stop = "tool" if tools else "end"
    if answer.status == "incomplete":
        reason = answer.incomplete_details.reason if answer.incomplete_details is not None else None
        stop = "filter" if reason == "content_filter" else "length"
    if any(part.refusal for part in parts):
        stop = "filter"
    usage = answer.usage or _Usage()
    cached = usage.input_tokens_details.cached_tokens if usage.input_tokens_details is not None else 0
    return Completion(
        "".join(part.text or part.refusal or "" for part in parts),
        tools,
        usage_of(usage.input_tokens, usage.output_tokens, cached),
        answer.model or "",
        stop=stop,
    )


def _items(turn: Turn) -> list[dict[str, Any]]:
    if turn.role == "tool":
        return [{"type": "function_call_output", "call_id": turn.tool_call_id, "output": turn.content}]
    items: list[dict[str, Any]] = []
    if turn.content or not turn.tool_calls:
        items.append({"role": turn.role, "content": turn.content})
    return items + [
        {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": text_of(call.arguments)}
        for call in turn.tool_calls
    ]
