"""What every provider of language models is asked and answers, whatever its SDK calls it."""

from collections.abc import AsyncIterator, Coroutine
from typing import Any, Literal, Protocol

from msgspec import Struct

Role = Literal["system", "user", "assistant", "tool"]
Stop = Literal["end", "length", "tool", "filter"]  # why the model ended: done, out of tokens, wants a tool, held back


class ToolCall(Struct, frozen=True, omit_defaults=True):
    """A model wants a tool called. `problem` says why its arguments could not be read; they are empty then."""

    id: str
    name: str
    arguments: dict[str, Any] = {}
    problem: str = ""


class Turn(Struct, frozen=True, omit_defaults=True):
    """One part of a conversation. A turn of role "tool" is the result of the call `tool_call_id`."""

    role: Role
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


class ToolSpec(Struct, frozen=True):
    """A tool as a model sees it; `parameters` is the JSON schema of its arguments."""

    name: str
    description: str
    parameters: dict[str, Any]


class Call(Struct, frozen=True, omit_defaults=True):
    """One call of a model. `schema`: the JSON schema that the answer must have. `timeout` in seconds."""

    turns: tuple[Turn, ...]
    model: str = ""
    max_tokens: int = 1024
    temperature: float | None = None  # None: the provider's own
    schema: dict[str, Any] | None = None
    schema_name: str = "answer"
    tools: tuple[ToolSpec, ...] = ()
    timeout: float = 60.0


class Usage(Struct, frozen=True, omit_defaults=True):
    """Tokens of one call; `cached_tokens` are those of the input that the provider had in its cache.

    >>> Usage(1, 2) + Usage(10, 20, 5)
    Usage(input_tokens=11, output_tokens=22, cached_tokens=5)
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            self.cached_tokens + other.cached_tokens,
        )


class Completion(Struct, frozen=True, omit_defaults=True):
    """What a model answered. `latency` in seconds; `parsed` is the answer as the type that was asked for."""

    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = Usage()
    model: str = ""
    provider: str = ""
    stop: Stop = "end"
    latency: float = 0.0
    parsed: Any = None


class Provider(Protocol):
    """One way to models. All its methods raise `ModelError` and nothing else; it does not retry by itself."""

    name: str

    def complete(self, call: Call) -> Coroutine[Any, Any, Completion]: ...

    def stream(self, call: Call) -> AsyncIterator[str | Completion]:
        """The text in pieces as they come; the completion last, once."""
        ...

    def close(self) -> Coroutine[Any, Any, None]: ...
