"""From the type of a message to the method that takes it: built once, looked up for each letter."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from ..mailbox.codec import decoder
from ..messages import Down, type_id
from .agent import Agent
from .handlers import Handler, is_async, is_stream

REST = {"": "receive", "broadcast": "on_broadcast", "notice": "on_completed"}  # by what the letter is
_DOWN = type_id(Down)
_decode_down = decoder(Down)


class Route(Struct, frozen=True):
    """How a message reaches its handler."""

    call: Callable[[Any], Any]
    type: type
    decode: Callable[[Any], Any]
    is_async: bool
    in_thread: bool = False
    is_stream: bool = False


def rest_routes(agent: Agent) -> dict[str, Route]:
    """The ways to what takes a message that no handler does, as far as the class has them; `receive` stands in for the others."""
    cls = type(agent)
    table = {}
    for kind, name in REST.items():
        method = getattr(cls, name)
        if method is not getattr(Agent, name):
            table[kind] = Route(getattr(agent, name), dict, dict, is_async(method), False, is_stream(method))
    return table


def routes(agent: Any, handlers: dict[str, Handler]) -> dict[str, Route]:
    """The way to each handler, by type id and, where it is no other's, by the bare class name."""
    table: dict[str, Route] = {}
    ambiguous: set[str] = set()
    for key, handler in handlers.items():
        call, decode = getattr(agent, handler.name), decoder(handler.type)
        table[key] = route = Route(call, handler.type, decode, handler.is_async, handler.in_thread, handler.is_stream)
        short = handler.type.__name__
        if short in table:
            ambiguous.add(short)
        table[short] = route
    for short in ambiguous:
        del table[short]
    table.setdefault(_DOWN, Route(agent.on_notice, Down, _decode_down, is_async(type(agent).on_notice)))
    return table
