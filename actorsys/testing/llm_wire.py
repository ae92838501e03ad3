"""What the APIs of models have in common as their servers speak them. Written apart from the client: a mistake there is not made here too."""

import itertools
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from ..llm.base import Stop, Usage
from ..llm.schema import why_not_strict

Events = Iterator[tuple[str | None, dict[str, Any]]]  # name of the event, if the API has such, and its data
_WORDS_A_PIECE = 2


class Refusal(Exception):
    """The request is wrong as the real server would find it."""

    def __init__(self, message: str, status: int = 400, kind: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.kind = kind


class Said(Struct, frozen=True):
    """What the model answers; the arguments of a tool are a dict, or text as it stands."""

    text: str
    tools: tuple[tuple[str, dict[str, Any] | str], ...]
    stop: Stop
    usage: Usage
    model: str
    number: int  # of the request

    def calls(self) -> Iterator[tuple[str, str, str]]:
        """(id, name, arguments as text) of each tool call."""
        for place, (name, arguments) in enumerate(self.tools):
            yield f"call_{self.number}_{place}", name, text_of(arguments)


class Dialect(Protocol):
    """One API: what it refuses, answers and streams."""

    def check(self, body: dict[str, Any], *, schemas: bool) -> None: ...
    def asked(self, body: dict[str, Any]) -> str: ...
    def schema(self, body: dict[str, Any]) -> dict[str, Any] | None: ...
    def answer(self, said: Said) -> dict[str, Any]: ...
    def events(self, said: Said, body: dict[str, Any]) -> Events: ...
    def error(self, status: int, kind: str, message: str) -> dict[str, Any]: ...
    def failure(self, message: str) -> tuple[str | None, dict[str, Any]]: ...


def text_of(value: dict[str, Any] | str) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def pieces(text: str) -> Iterator[str]:
    """A text as a model streams it: a few words at a time; put together they are the text."""
    words = text.split(" ")
    for start in range(0, len(words), _WORDS_A_PIECE):
        yield (" " if start else "") + " ".join(words[start : start + _WORDS_A_PIECE])


def minimal(schema: dict[str, Any], root: dict[str, Any] | None = None) -> Any:
    """The smallest value of a schema.

    >>> minimal({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "array", "items": {}}}})
    {'a': 0, 'b': []}
    """
    root = schema if root is None else root
    if "$ref" in schema:
        return minimal(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema:
        return minimal(next((each for each in schema["anyOf"] if each.get("type") == "null"), schema["anyOf"][0]), root)
    if "enum" in schema or "const" in schema:
        return schema["const"] if "const" in schema else schema["enum"][0]
    match schema.get("type"):
        case "object":
            return {name: minimal(each, root) for name, each in schema.get("properties", {}).items()}
        case "array":
            return []
        case "integer" | "number":
            return 0
    return {"boolean": False, "null": None}.get(schema.get("type", ""), "")


def must(is_right: object, message: str, status: int = 400, kind: str = "") -> None:
    if not is_right:
        raise Refusal(message, status, kind)


def must_be_strict(schema: dict[str, Any], name: str) -> None:
    if problem := why_not_strict(schema):
        raise Refusal(f"Invalid schema for {name}: {problem}")


def must_be_answered(called: list[list[str]], answered: list[list[str]]) -> None:
    """The results right behind a message with tool calls are those of all its calls and of no others."""
    none: list[str] = []
    for calls, results in itertools.zip_longest(called, answered, fillvalue=none):
        must(sorted(calls) == sorted(results), f"tool calls {calls} are not followed by their results, but by {results}")
