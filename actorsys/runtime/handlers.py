"""Which method of an agent takes which message; found out once, when the class is made."""

import inspect
import types
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from functools import cache
from typing import Any, TypeVar, overload

from msgspec import Struct

from ..errors import DefinitionError
from ..messages import Event, Request, reply_type, type_id

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__actorsys_on__"
PARTS = (AsyncIterator, AsyncGenerator)  # what an async generator may say that it returns


class Handler(Struct, frozen=True):
    """A method that takes messages of `type`; `reply` is what it must return."""

    name: str
    type: type
    reply: Any
    is_async: bool
    in_thread: bool
    is_stream: bool = False  # an async generator: each value that it yields is a part of the reply


@overload
def on(function: F) -> F: ...
@overload
def on(*, thread: bool = False) -> Callable[[F], F]: ...
def on(function: F | None = None, *, thread: bool = False) -> F | Callable[[F], F]:
    """Mark a method as the handler of the message type that annotates its argument.

    `@on(thread=True)` runs a blocking (not async) method in a thread, so that the agent stays responsive. An async generator,
    `async def count(self, msg: Count) -> AsyncIterator[int]` for a `Count(Request[int])`, answers in parts to whoever calls `Ref.stream`.

    >>> class Reset(Event): pass
    >>> class Counter:
    ...     @on
    ...     async def reset(self, msg: Reset) -> None: ...
    """

    def mark(function: F) -> F:
        setattr(function, _MARK, thread)
        return function

    return mark(function) if function is not None else mark


def collect(cls: type) -> dict[str, Handler]:
    """The handlers of an agent class by type id, inherited ones included.

    Raises DefinitionError, with file and line, for a handler that cannot work as written and for two that take the same type.
    """
    handlers: dict[str, Handler] = {}
    owners: dict[str, str] = {}
    methods: dict[str, Any] = {}
    for ancestor in reversed(cls.__mro__):
        for name, value in vars(ancestor).items():
            if hasattr(value, _MARK):
                methods[name] = value
            else:
                methods.pop(name, None)  # overridden by something that is no handler
    for name, method in methods.items():
        handler = _handler(cls, name, method)
        key = type_id(handler.type)
        if key in handlers:
            raise _wrong(cls, method, f"{owners[key]}() and {name}() both take {handler.type.__name__}; a type has one handler")
        handlers[key], owners[key] = handler, name
    return handlers


@cache
def is_stream(method: Any) -> bool:
    """Whether it is an async generator; remembered, as is `is_async`."""
    return inspect.isasyncgenfunction(method)


@cache
def is_async(method: Any) -> bool:
    """Whether it must be awaited; remembered, as asking `inspect` once costs each agent 50 KiB of unshared pages."""
    return inspect.iscoroutinefunction(method)


def _handler(cls: type, name: str, method: Any) -> Handler:
    in_thread = getattr(method, _MARK)
    is_async, is_stream = inspect.iscoroutinefunction(method), inspect.isasyncgenfunction(method)
    if in_thread and (is_async or is_stream):
        raise _wrong(cls, method, f"{name}() is async and cannot run in a thread; drop `async` or `thread=True`")
    arguments = [*inspect.signature(method).parameters.values()][1:]
    if len(arguments) != 1:
        raise _wrong(cls, method, f"{name}() must take exactly one argument besides self: the message")
    try:
        hints = typing.get_type_hints(method)
    except NameError as error:
        raise _wrong(cls, method, f"{name}(): {error}; message types must be known where the class is made") from error
    taken = hints.get(arguments[0].name)
    if not (isinstance(taken, type) and issubclass(taken, Event | Request) and taken not in (Event, Request)):
        raise _wrong(cls, method, f"{name}() must annotate {arguments[0].name!r} with a subclass of Event or of Request[...]")
    reply = reply_type(taken) if issubclass(taken, Request) else types.NoneType
    returned = hints.get("return", None if "return" not in hints else types.NoneType)
    if issubclass(taken, Request):
        if "return" not in hints:
            raise _wrong(cls, method, f"{name}() must say what it returns: {taken.__name__} asks for {_named(reply)}")
        if is_stream:
            _check_parts(cls, method, taken, reply, returned)
        elif reply is not Any and returned != reply and not (reply is None and returned is types.NoneType):
            raise _wrong(cls, method, f"{name}() returns {_named(returned)}, but {taken.__name__} asks for {_named(reply)}")
    elif "return" in hints and returned is not types.NoneType:
        raise _wrong(cls, method, f"{name}() returns {_named(returned)}, but {taken.__name__} is an Event and has no reply")
    elif is_stream:
        raise _wrong(cls, method, f"{name}() yields, but {taken.__name__} is an Event and has no reply")
    return Handler(name, taken, reply, is_async, in_thread, is_stream)


def _check_parts(cls: type, method: Any, taken: type, reply: Any, returned: Any) -> None:
    """An async generator yields what the request asks for."""
    part = (typing.get_args(returned) or (None,))[0]
    name, wanted = method.__name__, _named(reply)
    if typing.get_origin(returned) not in PARTS:
        text = f"{name}() yields, so it returns AsyncIterator[{wanted}], not {_named(returned)}"
        raise _wrong(cls, method, text)
    if reply is not Any and part != reply and not (reply is None and part is types.NoneType):
        raise _wrong(cls, method, f"{name}() yields {_named(part)}, but {taken.__name__} asks for {wanted}")


def _named(kind: Any) -> str:
    return getattr(kind, "__name__", None) or str(kind)


def _wrong(cls: type, method: Any, what: str) -> DefinitionError:
    code = inspect.unwrap(method).__code__
    where = f"{code.co_filename}:{code.co_firstlineno}"
    return DefinitionError(f"{where}: {cls.__name__}.{what}", where=where)
