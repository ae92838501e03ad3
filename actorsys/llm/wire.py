"""How an API of models is spoken: what each wire_*.py gives, and what they share. Pure.

The SDKs carry bytes, keys and errors; what is in a request and an answer is written and read here, from plain JSON, so that an answer
of a compatible server with a field too few or too many is read as well.
"""

from typing import Any, Protocol

import msgspec
from msgspec import Struct

from .base import Call, Completion, ToolCall, Turn, Usage

_DEEPEST = 100  # values in values: what is deeper cannot be relied on to pass through pipes, the journal and tools
_TOKENS_MAX = 2**53


class Reader(Protocol):
    """Puts the events of one stream together."""

    def feed(self, event: dict[str, Any]) -> str:
        """The piece of text that an event brings, or nothing. Raises `Failed` where it tells of an error."""
        ...

    def completion(self) -> Completion | None:
        """The whole answer; None while its end has not been seen."""
        ...


class Wire(Protocol):
    path: str

    def body(self, call: Call) -> dict[str, Any]: ...

    def read(self, answer: bytes | str) -> Completion:
        """Raises msgspec.MsgspecError for what is no answer, `Failed` for one that tells of an error."""
        ...

    def reader(self) -> Reader: ...


class Failed(Exception):
    """An answer with status 200 that says the model failed: `kind` is the provider's word for it."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class Partial(Struct):
    """A tool call whose arguments come in pieces."""

    id: str = ""
    name: str = ""
    arguments: str = ""

    def whole(self) -> ToolCall:
        return tool_call(self.id, self.name, self.arguments)


def tool_call(id: str, name: str, arguments: Any) -> ToolCall:
    """With the arguments as the model wrote them, JSON text or a value; what is no object becomes the call's `problem`."""
    value = arguments
    if isinstance(arguments, str):
        try:
            value = msgspec.json.decode(arguments or "{}")
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            return ToolCall(id, name, problem=f"the arguments are no valid JSON: {error}")
    if not isinstance(value, dict):
        return ToolCall(id, name, problem=f"the arguments must be a JSON object, not {type(value).__name__}")
    if _is_deep(value, _DEEPEST):
        return ToolCall(id, name, problem=f"the arguments are nested more than {_DEEPEST} deep")
    try:
        msgspec.msgpack.encode(value)  # as the journal will
    except (ValueError, OverflowError) as error:
        return ToolCall(id, name, problem=f"the arguments hold what cannot be stored: {error}")
    return ToolCall(id, name, value)


def _is_deep(value: Any, left: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return left == 0 or any(_is_deep(each, left - 1) for each in inner)


def usage_of(input: int | None, output: int | None, cached: int | None) -> Usage:
    """Tokens as a provider counts them; what it leaves out, or cannot be, is 0."""
    return Usage(*(min(max(count or 0, 0), _TOKENS_MAX) for count in (input, output, cached)))


def system_of(turns: tuple[Turn, ...]) -> str:
    """What all turns of the role "system" say."""
    return "\n\n".join(turn.content for turn in turns if turn.role == "system" and turn.content)


def told_the_schema(call: Call) -> Call:
    """The same call for a server that cannot be held to a schema: the model is asked for it in words."""
    schema = msgspec.json.encode(call.schema).decode()
    ask = Turn(
        "system",
        f"Answer with one JSON value and nothing else, no explanation, no code fence. It must fit this JSON schema: {schema}",
    )
    return msgspec.structs.replace(call, turns=(ask, *call.turns), schema=None)


def text_of(arguments: dict[str, Any]) -> str:
    return msgspec.json.encode(arguments).decode()
