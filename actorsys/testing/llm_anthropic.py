"""The messages API as its servers speak it."""

from typing import Any, ClassVar

import msgspec

from ..llm.base import Usage
from .llm_wire import Events, Said, must, must_be_answered, must_be_strict, pieces


class MessagesDialect:
    errors: ClassVar[dict[int, tuple[str, str]]] = {
        400: ("invalid_request_error", ""),
        401: ("authentication_error", ""),
        402: ("billing_error", ""),
        403: ("permission_error", ""),
        404: ("not_found_error", ""),
        413: ("request_too_large", ""),
        429: ("rate_limit_error", ""),
        500: ("api_error", ""),
        503: ("api_error", ""),
        529: ("overloaded_error", ""),
    }

    def check(self, body: dict[str, Any], *, schemas: bool) -> None:
        for field in ("model", "max_tokens", "messages"):
            must(body.get(field), f"{field}: Field required")
        must(body["messages"][0]["role"] == "user", "messages: first message must use the 'user' role")
        called: list[list[str]] = []
        answered: list[list[str]] = []
        for message in body["messages"]:
            must(message["role"] in ("user", "assistant"), f"messages: Unexpected role {message['role']!r}")
            content = message["content"]
            blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
            must(blocks and all(block.get("text") != "" for block in blocks), "messages: text content blocks must be non-empty")
            if calls := [block["id"] for block in blocks if block["type"] == "tool_use"]:
                called.append(calls)
            if results := [block["tool_use_id"] for block in blocks if block["type"] == "tool_result"]:
                answered.append(results)
                must(blocks[0]["type"] == "tool_result", "messages: `tool_result` blocks must come first")
        must_be_answered(called, answered)
        for tool in body.get("tools", ()):
            must("input_schema" in tool, "tools.0.input_schema: Field required")
            if tool.get("strict"):
                must_be_strict(tool["input_schema"], f"tools.{tool['name']}")
        if (schema := self.schema(body)) is not None:
            must(schemas, "output_config.format: Extra inputs are not permitted")
            must_be_strict(schema, "output_config.format.schema")

    def asked(self, body: dict[str, Any]) -> str:
        content = next(message["content"] for message in reversed(body["messages"]) if message["role"] == "user")
        return (
            content if isinstance(content, str) else " ".join(str(block.get("text") or block.get("content")) for block in content)
        )

    def schema(self, body: dict[str, Any]) -> dict[str, Any] | None:
        form = (body.get("output_config") or {}).get("format") or {}
        return form.get("schema")

    def answer(self, said: Said) -> dict[str, Any]:
        content: list[dict[str, Any]] = [{"type": "text", "text": said.text}] if said.text else []
        for id, name, arguments in said.calls():
            try:
                value = msgspec.json.decode(arguments)
            except msgspec.DecodeError:
                value = arguments
            content.append({"type": "tool_use", "id": id, "name": name, "input": value})
        return {**self._head(said), "content": content, "stop_reason": self._reason(said), "usage": self._usage(said.usage)}

    def events(self, said: Said, body: dict[str, Any]) -> Events:
        def event(type: str, **fields: Any) -> tuple[str, dict[str, Any]]:
            return type, {"type": type, **fields}

        usage = self._usage(said.usage)
        message = {**self._head(said), "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
        yield event("message_start", message=message)
        yield event("ping")
        place = 0
        if said.text:
            yield event("content_block_start", index=place, content_block={"type": "text", "text": ""})
            for piece in pieces(said.text):
                yield event("content_block_delta", index=place, delta={"type": "text_delta", "text": piece})
            yield event("content_block_stop", index=place)
            place += 1
        for id, name, arguments in said.calls():
            yield event(
                "content_block_start", index=place, content_block={"type": "tool_use", "id": id, "name": name, "input": {}}
            )
            for part in (arguments[:5], arguments[5:]):
                yield event("content_block_delta", index=place, delta={"type": "input_json_delta", "partial_json": part})
            yield event("content_block_stop", index=place)
            place += 1
        delta = {"stop_reason": self._reason(said), "stop_sequence": None}
        yield event("message_delta", delta=delta, usage={"output_tokens": said.usage.output_tokens})
        yield event("message_stop")

    def error(self, status: int, kind: str, message: str) -> dict[str, Any]:
        type, _ = self.errors.get(status, ("api_error", ""))
        return {"type": "error", "error": {"type": kind or type, "message": message}, "request_id": "req_fake"}

    def failure(self, message: str) -> tuple[str | None, dict[str, Any]]:
        return "error", self.error(529, "", message)

    @staticmethod
    def _head(said: Said) -> dict[str, Any]:
        return {"id": f"msg_{said.number}", "type": "message", "role": "assistant", "model": said.model, "stop_sequence": None}

    @staticmethod
    def _reason(said: Said) -> str:
        return {"end": "end_turn", "length": "max_tokens", "tool": "tool_use", "filter": "refusal"}[said.stop]

    @staticmethod
    def _usage(usage: Usage) -> dict[str, Any]:
        return {
            "input_tokens": usage.input_tokens - usage.cached_tokens,
            "cache_read_input_tokens": usage.cached_tokens,
            "cache_creation_input_tokens": 0,
            "output_tokens": usage.output_tokens,
        }
