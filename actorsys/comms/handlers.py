"""How is a method of somebody's class called? Sync or async; with the content, or with the whole message when it asks for that."""

import asyncio
import inspect
import typing
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from ..messages import Message

current: ContextVar[Message | None] = ContextVar("actorsys_message", default=None)  # the message being handled


class Method:
    """A method to be called for a message. One that is not async runs in a thread, so that it may block.

    It gets the content of the message; if its parameter is annotated with `Message`, or `whole` says so, all of it.
    """

    def __init__(self, function: Callable[..., Any], *, whole: bool = False) -> None:
        self._function = function
        self._is_async = _is_async(function)
        self._whole = whole or _wants_message(function)

    async def __call__(self, message: Message) -> Any:
        token = current.set(message)  # a thread started from here sees it, too
        try:
            given = message if self._whole else message.payload
            if self._is_async:
                return await self._function(given)
            result = await asyncio.to_thread(_call, self._function, given)
            return await result if inspect.isawaitable(result) else result
        finally:
            current.reset(token)


def method(owner: object, name: str, *, whole: bool = False) -> Callable[[Message], Awaitable[Any]] | None:
    """The method of that name, ready to be called; None if there is none."""
    function = getattr(owner, name, None)
    return Method(function, whole=whole) if callable(function) else None


def _call(function: Callable[..., Any], given: Any) -> Any:
    try:
        return function(given)
    except StopIteration as error:  # a future cannot hold it: whoever waits for the thread would wait for ever
        raise RuntimeError("the handler raised StopIteration") from error


def _is_async(function: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004


def _wants_message(function: Callable[..., Any]) -> bool:
    try:
        first = next(iter(inspect.signature(function).parameters.values()), None)
    except (TypeError, ValueError):
        return False
    if first is None or first.annotation is inspect.Parameter.empty:
        return False
    try:
        hint = typing.get_type_hints(function).get(first.name, first.annotation)
    except Exception:  # noqa: BLE001 - an annotation of theirs that cannot be evaluated is no reason not to call it
        hint = first.annotation
    return hint is Message or (isinstance(hint, str) and hint.rpartition(".")[2] == "Message")
