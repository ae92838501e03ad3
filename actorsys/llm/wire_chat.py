"""The chat completions API: OpenAI's older one, and the one every compatible server speaks. Pure."""

from typing import Any

import msgspec
from msgspec import Struct

from .base import Call, Completion, Stop, ToolSpec, Turn, Usage
from .schema import why_not_strict
from .wire import Failed, Partial, Reader, system_of, text_of, usage_of

_STOPS: dict[str | None, Stop] = {
    "length": "length",
    "content_filter": "filter",
    "tool_calls": "tool",
    "function_call": "tool",
}


class _Function(Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _ToolCall(Struct):
    index: int | None = None
    id: str | None = None
    function: _Function = msgspec.field(default_factory=_Function)


class _Message(Struct):
    content: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Struct):
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None


class _Details(Struct):
    cached_tokens: int | None = None


class _Usage(Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _Details | None = None


class _Answer(Struct):
    choices: list[_Choice] | None = None
    model: str | None = None
    usage: _Usage | None = None


class Chat:
    """`is_openai`: OpenAI itself, whose newer models know only the newer name of a parameter."""

    path = "/chat/completions"

    def __init__(self, *, is_openai: bool = False) -> None:
        self._limit = "max_completion_tokens" if is_openai else "max_tokens"

    def body(self, call: Call) -> dict[str, Any]:
        system = system_of(call.turns)
        messages = [{"role": "system", "content": system}] if system else []
        messages += [_message(turn) for turn in call.turns if turn.role != "system"]
        body: dict[str, Any] = {"model": call.model, "messages": messages, self._limit: call.max_tokens}
        if call.temperature is not None:
            body["temperature"] = call.temperature
        if call.tools:
            body["tools"] = [{"type": "function", "function": function(tool)} for tool in call.tools]
        if call.schema is not None:
            schema = {"name": call.schema_name, "schema": call.schema, "strict": why_not_strict(call.schema) is None}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def read(self, answer: bytes | str) -> Completion:
        found = msgspec.json.decode(answer, type=_Answer)
        reader = _Reader()
        reader.take(found)
        if (completion := reader.completion()) is None:
            raise msgspec.ValidationError("it has no choice with a message")
        return completion

    def reader(self) -> Reader:
        return _Reader()


class _Reader:
    def __init__(self) -> None:
        self._text: list[str] = []
        self._tools: dict[int, Partial] = {}
        self._usage = Usage()
        self._model = ""
        self._stop: Stop | None = None
        self._is_refused = False

    def feed(self, event: dict[str, Any]) -> str:
        if (error := event.get("error")) is not None:
            message = error.get("message") if isinstance(error, dict) else error
            raise Failed(str(error.get("type") or "") if isinstance(error, dict) else "", str(message))
        return self.take(msgspec.convert(event, _Answer))

    def take(self, part: _Answer) -> str:
        self._model = part.model or self._model
        if part.usage is not None:
            cached = part.usage.prompt_tokens_details.cached_tokens if part.usage.prompt_tokens_details is not None else 0
            self._usage = usage_of(part.usage.prompt_tokens, part.usage.completion_tokens, cached)
        pieces = []
        for choice in (part.choices or ())[:1]:
            message = choice.message or choice.delta or _Message()
            pieces += [piece for piece in (message.content, message.refusal) if piece]
            self._is_refused |= bool(message.refusal)
            for place, call in enumerate(message.tool_calls or ()):
                self._tool(place if call.index is None else call.index, call)
            # A server that leaves the reason out of a whole answer ended it all the same.
            if choice.finish_reason is not None or choice.message is not None:
                self._stop = _STOPS.get(choice.finish_reason, "end")
        self._text += pieces
        return "".join(pieces)

    def _tool(self, place: int, call: _ToolCall) -> None:
        tool = self._tools.setdefault(place, Partial())
        tool.id = call.id or tool.id
        tool.name = call.function.name or tool.name
        arguments = call.function.arguments or ""
        tool.arguments += arguments if isinstance(arguments, str) else text_of(arguments)

    def completion(self) -> Completion | None:
        if self._stop is None:
            return None
        tools = tuple(tool.whole() for _, tool in sorted(self._tools.items()))
        stop: Stop = "filter" if self._is_refused else "tool" if tools and self._stop == "end" else self._stop
        return Completion("".join(self._text), tools, self._usage, self._model, stop=stop)


def function(tool: ToolSpec) -> dict[str, Any]:
    """A tool; strict where its schema allows that: then its arguments are always of the schema."""
    is_strict = why_not_strict(tool.parameters) is None
    return {"name": tool.name, "description": tool.description, "parameters": tool.parameters, "strict": is_strict}


def _message(turn: Turn) -> dict[str, Any]:
    if turn.role == "tool":
        return {"role": "tool", "tool_call_id": turn.tool_call_id, "content": turn.content}
    message: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.tool_calls:
        message["content"] = turn.content or None
        message["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": text_of(call.arguments)}}
            for call in turn.tool_calls
        ]
    return message
