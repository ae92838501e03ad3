"""The messages API of Anthropic. Pure."""

from typing import Any

import msgspec
from msgspec import Struct

from .base import Call, Completion, Stop, ToolSpec, Turn, Usage
from .schema import why_not_strict
from .wire import Failed, Partial, Reader, system_of, tool_call, usage_of

_STOPS: dict[str | None, Stop] = {
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "filter",
    "tool_use": "tool",
}


class _Block(Struct):
    type: str = ""
    text: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None


class _Usage(Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None


class _Answer(Struct):
    content: list[_Block]
    model: str | None = None
    stop_reason: str | None = None
    usage: _Usage | None = None


class Messages:
    path = "/v1/messages"

    def body(self, call: Call) -> dict[str, Any]:
        body: dict[str, Any] = {"model": call.model, "max_tokens": call.max_tokens, "messages": _messages(call.turns)}
        if system := system_of(call.turns):
            body["system"] = system
        if call.temperature is not None:
            body["temperature"] = call.temperature
        if call.tools:
            body["tools"] = [_tool(tool) for tool in call.tools]
        if call.schema is not None:
            body["output_config"] = {"format": {"type": "json_schema", "schema": call.schema}}
        return body

    def read(self, answer: bytes | str) -> Completion:
        found = msgspec.json.decode(answer, type=_Answer)
        text = "".join(block.text or "" for block in found.content if block.type == "text")
        tools = tuple(
            tool_call(block.id or "", block.name or "", block.input) for block in found.content if block.type == "tool_use"
        )
        return Completion(
            text, tools, _usage(found.usage or _Usage()), found.model or "", stop=_STOPS.get(found.stop_reason, "end")
        )

    def reader(self) -> Reader:
        return _Reader()


class _Reader:
    def __init__(self) -> None:
        self._text: list[str] = []
        self._tools: dict[int, Partial] = {}
        self._model = ""
        self._usage = _Usage()
        self._stop: str | None = None
        self._is_over = False

    def feed(self, event: dict[str, Any]) -> str:
        match event:
            case {"type": "message_start", "message": {**message}}:
                self._model = str(message.get("model") or "")
                self._count(message.get("usage"))
            case {"type": "content_block_start", "index": int(index), "content_block": {"type": "tool_use", **block}}:
                self._tools[index] = Partial(str(block.get("id") or ""), str(block.get("name") or ""))
            case {"type": "content_block_delta", "delta": {"type": "text_delta", "text": str(text)}}:
                self._text.append(text)
                return text
            case {
                "type": "content_block_delta",
                "index": int(index),
                "delta": {"type": "input_json_delta", "partial_json": str(text)},
            }:
                self._tools.setdefault(index, Partial()).arguments += text
            case {"type": "message_delta", "delta": {**delta}}:
                self._stop = str(delta.get("stop_reason") or "") or self._stop
                self._count(event.get("usage"))
            case {"type": "message_stop"}:
                self._is_over = True
            case {"type": "error", "error": {**error}}:
                raise Failed(str(error.get("type") or ""), str(error.get("message") or "no reason given"))
        return ""

    def _count(self, usage: Any) -> None:
        """Counts come twice, the later ones are the totals."""
        for field, value in msgspec.structs.asdict(msgspec.convert(usage or {}, _Usage)).items():
            if value is not None:
                setattr(self._usage, field, value)

    def completion(self) -> Completion | None:
        if not self._is_over:
            return None
        tools = tuple(tool.whole() for _, tool in sorted(self._tools.items()))
        return Completion("".join(self._text), tools, _usage(self._usage), self._model, stop=_STOPS.get(self._stop, "end"))


def _usage(usage: _Usage) -> Usage:
    """Theirs leaves what is cached out of the input; ours, like OpenAI's, does not."""
    cached = usage.cache_read_input_tokens or 0
    return usage_of((usage.input_tokens or 0) + cached + (usage.cache_creation_input_tokens or 0), usage.output_tokens, cached)


def _messages(turns: tuple[Turn, ...]) -> list[dict[str, Any]]:
    """Turns of one side in a row are one message: the results of all tools called together must stand in one."""
    messages: list[dict[str, Any]] = []
    for turn in turns:
        if turn.role == "system":
            continue
        role = "assistant" if turn.role == "assistant" else "user"
        blocks = _blocks(turn)
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += blocks
        elif blocks:
            messages.append({"role": role, "content": blocks})
    return messages


def _blocks(turn: Turn) -> list[dict[str, Any]]:
    if turn.role == "tool":
        return [{"type": "tool_result", "tool_use_id": turn.tool_call_id, "content": turn.content}]
    # An empty text block is refused.
    blocks: list[dict[str, Any]] = [{"type": "text", "text": turn.content}] if turn.content else []
    return blocks + [{"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments} for call in turn.tool_calls]


def _tool(tool: ToolSpec) -> dict[str, Any]:
    spec: dict[str, Any] = {"name": tool.name, "description": tool.description, "input_schema": tool.parameters}
    if why_not_strict(tool.parameters) is None:
        spec["strict"] = True
    return spec
