"""What agents say to each other.

`Event` wants no reply, `Request[R]` wants an `R`; both are msgspec Structs. `Message` is what `receive` gets when no handler fits.
`Failure` is an error as data: exceptions are never pickled, they travel as this.
"""

from __future__ import annotations

import sys
import traceback
from datetime import datetime
from typing import Any, Generic, TypeVar, dataclass_transform, get_args, get_origin

from msgspec import Struct, field

from .errors import BY_NAME, ActorError, BudgetExceeded, ConfigError, ModelError, RemoteError

R = TypeVar("R")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class _Frozen(Struct, frozen=True):
    """Tells type checkers what msgspec does anyway: a subclass of a frozen Struct is frozen without saying so again."""


class Event(_Frozen, frozen=True):
    """Base class of messages that are told: no reply.

    >>> class Reset(Event): pass
    """


class Request(_Frozen, Generic[R], frozen=True):
    """Base class of messages that are asked: `Request[R]` is answered with an `R`.

    >>> class Add(Request[int]):
    ...     n: int
    """


class Store(Request[None], frozen=True):
    """Every agent answers it, unless it has a handler of its own: sets one key of its state."""

    key: str
    value: Any


class Get(Request[Any], frozen=True):
    """Answered with the value of one key of the agent's state; None if there is no such key."""

    key: str


class Delete(Request[None], frozen=True):
    """Removes one key of the agent's state; it need not be there."""

    key: str


class Clear(Request[None], frozen=True):
    """Empties the agent's state."""


class List(Request[list[str]], frozen=True):
    """Answered with the keys of the agent's state that start with `prefix`, in order."""

    prefix: str = ""


class Down(Event, frozen=True):
    """An agent that was monitored has died: its name, and the exit reason ("killed by SIGKILL"); `unknown` if there is no such agent.

    Exactly one for each `monitor`, given to `on_notice`, whether or not the agent is started again.
    """

    agent: str
    reason: str


class Message(Struct, frozen=True, kw_only=True):
    """A message as `Agent.receive` sees it: whatever no `@on` handler takes."""

    id: str
    sender: str
    to: str
    type: str
    payload: Any
    metadata: dict[str, Any]
    timestamp: datetime
    in_reply_to: str | None = None
    priority: int = 3
    deadline: float | None = None  # seconds left when it was received; None: no limit


class Failure(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An exception as data: `kind` is a class of `actorsys.errors`, `type` the class that was really raised."""

    kind: str
    type: str
    message: str
    traceback: str = ""
    details: dict[str, Any] = {}

    @classmethod
    def of(cls, error: BaseException, *, with_traceback: bool = True) -> Failure:
        """Describe an exception; one of ours keeps its kind, any other becomes a RemoteError for who asked."""
        text = _sayable("".join(traceback.format_exception(error))) if with_traceback else ""
        if isinstance(error, RemoteError):
            first = error.message.removeprefix(f"{error.type}: ")  # passed on from agent to agent, the type is not named again
            return cls(kind="RemoteError", type=error.type or "", message=first, traceback=error.traceback or "")
        if isinstance(error, ActorError) and not isinstance(error, ModelError | BudgetExceeded):  # these are its own affair
            details = {name: value for name in error.details if (value := getattr(error, name)) is not None}
            return cls(
                kind=type(error).__name__,
                type=type(error).__name__,
                message=_sayable(error.message),
                traceback=text,
                details=details,
            )
        return cls(kind="RemoteError", type=type(error).__qualname__, message=_sayable(str(error)), traceback=text)

    @property
    def line(self) -> str:
        """The exception as Python prints it: its type, and its message if it has one."""
        return f"{self.type}: {self.message}".removesuffix(": ")

    def error(self) -> ActorError:
        """The exception to raise on this side."""
        cls = BY_NAME.get(self.kind, RemoteError)
        if cls is RemoteError:
            text = f"{self.type}: {self.message}" if self.type else self.message
            return RemoteError(text, type=self.type, traceback=self.traceback)
        return cls(self.message, **{name: self.details[name] for name in cls.details if name in self.details})


def _sayable(text: str) -> str:
    """The text without lone surrogates, which come with names of files and cannot be encoded."""
    return text.encode("utf-8", "backslashreplace").decode()


def type_id(cls: type) -> str:
    """The name of a message type on the wire: `module:qualname`.

    A type of the main script has the same id in the script's own process and in agents, which load it under another name.
    """
    return f"{real_module(cls.__module__)}:{cls.__qualname__}"


def real_module(module: str) -> str:
    """The name under which another process can import `module`; `__main__` stands for a script run by path."""
    if module == "__mp_main__":
        module = "__main__"
    if module == "__main__":
        spec = getattr(sys.modules.get("__main__"), "__spec__", None)
        if spec is not None:
            return str(spec.name)
    return module


def class_path(cls: type) -> str:
    """ "module:Class", by which another process finds the class. Raises ConfigError for one that is defined inside a function."""
    module, qualname = real_module(cls.__module__), cls.__qualname__
    if "<locals>" in qualname:
        text = f"{qualname} is defined inside a function; its process could not find it. Move it to the top level of {module}."
        raise ConfigError(text, where=qualname)
    return f"{module}:{qualname}"


def reply_type(cls: type) -> Any:
    """The `R` of a `Request[R]` subclass; `Any` when it was left out."""
    for ancestor in cls.__mro__:
        for origin in getattr(ancestor, "__orig_bases__", ()):
            if get_origin(origin) is Request:
                return get_args(origin)[0]
    return Any
