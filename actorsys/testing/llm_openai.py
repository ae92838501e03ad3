"""The chat completions API and the responses API as their servers speak them."""

import itertools
from typing import Any, ClassVar

import msgspec

from ..llm.base import Usage
from .llm_wire import Events, Said, must, must_be_answered, must_be_strict, pieces


class ChatDialect:
    errors: ClassVar[dict[int, tuple[str, str]]] = {
        400: ("invalid_request_error", ""),
        401: ("invalid_request_error", "invalid_api_key"),
        403: ("request_forbidden", "unsupported_country_region_territory"),
        404: ("invalid_request_error", "model_not_found"),
        429: ("requests", "rate_limit_exceeded"),
        500: ("server_error", "server_error"),
        502: ("server_error", "server_error"),
        503: ("server_error", "overloaded"),
        529: ("server_error", "overloaded"),
    }

    def check(self, body: dict[str, Any], *, schemas: bool) -> None:
        must(body.get("model"), "you must provide a model parameter")
        must(isinstance(body.get("messages"), list) and body["messages"], "[] is too short - 'messages'")
        called: list[list[str]] = []
        answered: list[list[str]] = []
        for message in body["messages"]:
            must(
                message.get("role") in ("system", "developer", "user", "assistant", "tool"),
                f"Invalid value: {message.get('role')!r}",
            )
            if message["role"] == "tool":
                must(answered, "messages with role 'tool' must be a response to a preceding message with 'tool_calls'")
                answered[-1].append(message["tool_call_id"])
            elif message.get("tool_calls"):
                called.append([call["id"] for call in message["tool_calls"]])
                answered.append([])
                for call in message["tool_calls"]:
                    msgspec.json.decode(call["function"]["arguments"])
            else:
                must(isinstance(message.get("content"), str), "Invalid value for 'content': expected a string, got null")
        must_be_answered(called, answered)
        for tool in body.get("tools", ()):
            if tool["function"].get("strict"):
                must_be_strict(tool["function"]["parameters"], f"function '{tool['function']['name']}'")
        if (form := body.get("response_format")) is not None and form["type"] == "json_schema":
            must(schemas, "'response_format' of type 'json_schema' is not supported by this model")
            must_be_strict(form["json_schema"]["schema"], f"response_format '{form['json_schema']['name']}'")

    def asked(self, body: dict[str, Any]) -> str:
        return next((str(each["content"]) for each in reversed(body["messages"]) if each["role"] in ("user", "tool")), "")

    def schema(self, body: dict[str, Any]) -> dict[str, Any] | None:
        form = body.get("response_format") or {}
        return form["json_schema"]["schema"] if form.get("type") == "json_schema" else None

    def answer(self, said: Said) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": said.text or None, "refusal": None}
        if said.tools:
            message["tool_calls"] = [
                {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}
                for id, name, arguments in said.calls()
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._reason(said)}
        return {**self._head(said, "chat.completion"), "choices": [choice], "usage": self._usage(said.usage)}

    def events(self, said: Said, body: dict[str, Any]) -> Events:
        def chunk(delta: dict[str, Any], reason: str | None = None) -> tuple[None, dict[str, Any]]:
            choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
            return None, {**self._head(said, "chat.completion.chunk"), "choices": [choice]}

        yield chunk({"role": "assistant", "content": ""})
        for piece in pieces(said.text) if said.text else ():
            yield chunk({"content": piece})
        for place, (id, name, arguments) in enumerate(said.calls()):
            yield chunk(
                {"tool_calls": [{"index": place, "id": id, "type": "function", "function": {"name": name, "arguments": ""}}]}
            )
            for part in (arguments[:5], arguments[5:]):
                yield chunk({"tool_calls": [{"index": place, "function": {"arguments": part}}]})
        yield chunk({}, self._reason(said))
        if (body.get("stream_options") or {}).get("include_usage"):
            yield None, {**self._head(said, "chat.completion.chunk"), "choices": [], "usage": self._usage(said.usage)}

    def error(self, status: int, kind: str, message: str) -> dict[str, Any]:
        type, code = self.errors.get(status, ("invalid_request_error", ""))
        return {"error": {"message": message, "type": type, "param": None, "code": kind or code or None}}

    def failure(self, message: str) -> tuple[str | None, dict[str, Any]]:
        """The event that ends a stream in the middle."""
        return None, self.error(500, "", message)

    @staticmethod
    def _head(said: Said, object: str) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{said.number}",
            "object": object,
            "created": 1_760_000_000,
            "model": said.model,
            "service_tier": "default",
        }

    @staticmethod
    def _reason(said: Said) -> str:
        return {"end": "stop", "length": "length", "tool": "tool_calls", "filter": "content_filter"}[said.stop]

    @staticmethod
    def _usage(usage: Usage) -> dict[str, Any]:
        return {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
            "prompt_tokens_details": {"cached_tokens": usage.cached_tokens, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        }


class ResponsesDialect(ChatDialect):
    def check(self, body: dict[str, Any], *, schemas: bool) -> None:
        must(body.get("model"), "Missing required parameter: 'model'.")
        must(body.get("input"), "Missing required parameter: 'input'.")
        calls = [item["call_id"] for item in body["input"] if item.get("type") == "function_call"]
        results = [item["call_id"] for item in body["input"] if item.get("type") == "function_call_output"]
        must(sorted(calls) == sorted(results), f"No tool output found for function calls {calls}.")
        for tool in body.get("tools", ()):
            if tool.get("strict", True):
                must_be_strict(tool["parameters"], f"function '{tool['name']}'")
        if (schema := self.schema(body)) is not None:
            must(schemas, "'text.format' of type 'json_schema' is not supported with this model")
            must_be_strict(schema, f"response_format '{body['text']['format']['name']}'")

    def asked(self, body: dict[str, Any]) -> str:
        for item in reversed(body["input"]):
            if item.get("type") == "function_call_output" or item.get("role") == "user":
                return str(item.get("output") or item.get("content"))
        return ""

    def schema(self, body: dict[str, Any]) -> dict[str, Any] | None:
        form = (body.get("text") or {}).get("format") or {}
        return form["schema"] if form.get("type") == "json_schema" else None

    def answer(self, said: Said) -> dict[str, Any]:
        output: list[dict[str, Any]] = []
        if said.text:
            part = {"type": "output_text", "text": said.text, "annotations": []}
            output.append(
                {"id": f"msg_{said.number}", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
            )
        output += [
            {
                "id": f"fc_{id}",
                "type": "function_call",
                "status": "completed",
                "call_id": id,
                "name": name,
                "arguments": arguments,
            }
            for id, name, arguments in said.calls()
        ]
        reason = {"length": "max_output_tokens", "filter": "content_filter"}.get(said.stop)
        return {
            "id": f"resp_{said.number}",
            "object": "response",
            "created_at": 1_760_000_000,
            "status": "incomplete" if reason else "completed",
            "error": None,
            "incomplete_details": {"reason": reason} if reason else None,
            "model": said.model,
            "output": output,
            "usage": {
                "input_tokens": said.usage.input_tokens,
                "input_tokens_details": {"cached_tokens": said.usage.cached_tokens},
                "output_tokens": said.usage.output_tokens,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": said.usage.input_tokens + said.usage.output_tokens,
            },
        }

    def events(self, said: Said, body: dict[str, Any]) -> Events:
        numbers = itertools.count()

        def event(type: str, **fields: Any) -> tuple[str, dict[str, Any]]:
            return type, {"type": type, "sequence_number": next(numbers), **fields}

        whole = self.answer(said)
        started = {**whole, "status": "in_progress", "output": [], "usage": None}
        yield event("response.created", response=started)
        yield event("response.in_progress", response=started)
        for place, item in enumerate(whole["output"]):
            yield event("response.output_item.added", output_index=place, item={**item, "status": "in_progress"})
            where = {"item_id": item["id"], "output_index": place}
            if item["type"] == "message":
                for piece in pieces(said.text):
                    yield event("response.output_text.delta", **where, content_index=0, delta=piece)
                yield event("response.output_text.done", **where, content_index=0, text=said.text)
            else:
                yield event("response.function_call_arguments.delta", **where, delta=item["arguments"])
                yield event("response.function_call_arguments.done", **where, arguments=item["arguments"])
            yield event("response.output_item.done", output_index=place, item=item)
        yield event(f"response.{whole['status']}", response=whole)

    def failure(self, message: str) -> tuple[str | None, dict[str, Any]]:
        return "error", {"type": "error", "code": "server_error", "message": message, "param": None, "sequence_number": 9}
