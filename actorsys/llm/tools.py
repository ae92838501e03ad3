"""Functions that a model may call: what it asks for is decoded, run, and told to it, failures included."""

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from ..errors import BadCompletion, DefinitionError
from ..names import did_you_mean
from .base import ToolCall, ToolSpec, Turn
from .schema import arguments_type, tool_spec

Tool = Callable[..., Any]
SAME_CALLS = 3  # times that a model may want the same: the last is refused, for it goes round in circles


class Toolbox:
    """The tools of one conversation. Raises DefinitionError for two of one name, or one that cannot be described."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, tuple[Tool, type]] = {}
        self.specs: list[ToolSpec] = []
        self._seen: Counter[tuple[str, bytes, str]] = Counter()
        for tool in tools:
            spec = tool_spec(tool)
            if spec.name in self._tools:
                raise DefinitionError(f"two tools are named {spec.name!r}; a model tells them apart by their names")
            self._tools[spec.name] = tool, arguments_type(tool)
            self.specs.append(spec)

    def check(self, calls: Iterable[ToolCall]) -> None:
        """Take note of the calls of one answer. Raises BadCompletion when the model has asked for the very same in too many answers."""
        keys = ((call.name, msgspec.msgpack.encode(call.arguments, order="sorted"), call.problem) for call in calls)
        asked = list(dict.fromkeys(keys))
        self._seen.update(asked)
        for key in asked:
            if (count := self._seen[key]) >= SAME_CALLS:
                raise BadCompletion(
                    f"the model asked for {key[0]!r} with the same arguments {count} times; it goes round in circles."
                )

    async def run(self, call: ToolCall) -> str:
        """What the model is told: the result, text as it is and other values as JSON, or what went wrong."""
        if call.problem:
            return f"error: {call.problem}"
        if call.name not in self._tools:
            return f"error: no tool is named {call.name!r}.{did_you_mean(call.name, self._tools)}"
        tool, expected = self._tools[call.name]
        try:
            arguments: Any = msgspec.convert(call.arguments, expected)
            values = {name: getattr(arguments, name) for name in arguments.__struct_fields__}
            result = await _called(tool, values)
            return result if isinstance(result, str) else msgspec.json.encode(result).decode()
        except Exception as error:  # noqa: BLE001 - it is the user's code, and the model can act on it
            return f"error: {type(error).__name__}: {error}"


async def _called(tool: Tool, values: dict[str, Any]) -> Any:
    if inspect.iscoroutinefunction(tool):
        return await tool(**values)
    result = await asyncio.to_thread(tool, **values)
    return await result if inspect.isawaitable(result) else result


def told(call: ToolCall, text: str) -> Turn:
    """The turn that answers a call."""
    return Turn("tool", text, tool_call_id=call.id)
