"""Erlang-style supervision for plain Python: every agent is an OS process of its own, reached through a mailbox that outlives it.

>>> from actorsys import Event, Request
>>> class Add(Request[int]):
...     n: int
>>> Add(n=2)
Add(n=2)
"""

from typing import TYPE_CHECKING, Any

from .errors import (
    ActorError,
    AgentDown,
    AskCycle,
    AskTimeout,
    BadCompletion,
    BadMessage,
    BadModelCall,
    BudgetExceeded,
    ConfigError,
    DefinitionError,
    GuardError,
    MailboxFull,
    ModelAuthError,
    ModelError,
    ModelUnavailable,
    RemoteError,
    StartFailed,
    StateError,
    StepInDoubt,
    UnknownAgent,
    Unreachable,
)
from .messages import Clear, Delete, Down, Event, Failure, Get, List, Message, Request, Store

if TYPE_CHECKING:
    from .mailbox.ref import Ref as Ref
    from .runtime.agent import Agent as Agent
    from .runtime.handlers import on as on
    from .supervision.supervisor import Supervisor as Supervisor
    from .supervision.supervisor import run as run

__version__ = "0.1.0"

__all__ = [
    "Agent",
    "on",
    "Event",
    "Request",
    "Message",
    "Down",
    "Failure",
    "Store",
    "Get",
    "Delete",
    "Clear",
    "List",
    "Ref",
    "Supervisor",
    "run",
    "ActorError",
    "AgentDown",
    "AskCycle",
    "AskTimeout",
    "BadMessage",
    "ConfigError",
    "DefinitionError",
    "GuardError",
    "MailboxFull",
    "RemoteError",
    "StartFailed",
    "StateError",
    "StepInDoubt",
    "ModelError",
    "ModelUnavailable",
    "ModelAuthError",
    "BadModelCall",
    "BadCompletion",
    "BudgetExceeded",
    "UnknownAgent",
    "Unreachable",
]

# Loaded on first use: an agent process never needs the supervisor, a program that only sends messages needs neither,
# and each would cost every agent its time to start and its memory.
_LAZY = {
    "Agent": "runtime.agent",
    "on": "runtime.handlers",
    "Ref": "mailbox.ref",
    "Supervisor": "supervision.supervisor",
    "run": "supervision.supervisor",
}


def __getattr__(name: str) -> Any:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f".{module}", __name__), name)
    globals()[name] = value  # the next access does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
