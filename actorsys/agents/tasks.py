"""What built-in agents are asked: `{"llm_task": NAME, ...}` as plain JSON, or the message class of that task."""

import asyncio
import re
from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from .. import BadMessage, Request
from ..llm import LLM  # noqa: F401  # here, before the fork, so that agents share it: loading it costs each of them 3 MiB

T = TypeVar("T")

_MISSING = re.compile(r"missing required field `(\w+)`")


class Work(Request[Any], frozen=True):
    """A step of a workflow: do `task`; `inputs` has the results of the steps that it depends on, by their ids."""

    task: str
    inputs: dict[str, Any] = {}


def task_of(payload: Any, tasks: Mapping[str, type[T]]) -> T:
    """The task that a plain message asks for, of the class that `tasks` has for its name. Raises BadMessage, which names the field.

    >>> task_of({"llm_task": "work", "task": "sleep"}, {"work": Work})
    Work(task='sleep', inputs={})
    """
    known = ", ".join(f'"{name}"' for name in tasks)
    if not isinstance(payload, dict) or "llm_task" not in payload:
        raise BadMessage(f'a message is a JSON object with an "llm_task", which is one of {known}.', field="llm_task")
    name = payload["llm_task"]
    if not isinstance(name, str) or name not in tasks:
        raise BadMessage(f"llm_task is {name!r}; here it is one of {known}.", field="llm_task")
    try:
        return msgspec.convert({key: value for key, value in payload.items() if key != "llm_task"}, tasks[name])
    except msgspec.ValidationError as error:
        raise _wrong(name, error) from None


def _wrong(task: str, error: msgspec.ValidationError) -> BadMessage:
    sentence, _, path = str(error).partition(" - at `")
    missing = _MISSING.search(sentence)
    at = [path.rstrip("`").removeprefix("$").removeprefix("."), missing[1] if missing else ""]
    field = ".".join(part for part in at if part)
    return BadMessage(f"{task}: {sentence}" + (f", in field {field!r}." if field else "."), field=field or None)


async def together(calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of calls that run at once, in their order. When one fails the others are cancelled, and its error is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(call) for call in calls]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]
