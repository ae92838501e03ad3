"""What is there to know about a type of message? Found out once for each."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from ..messages import Request, reply_type, type_id
from .codec import decoder, encode


class Kind(Struct, frozen=True):
    """Its id, and what a reply to it is."""

    id: str
    decode_reply: Callable[[Any], Any]
    reply: Any = Any


PLAIN = Kind("", decoder(Any))  # dicts, lists, text: for `receive`, or for the handler their "type" names
KINDS: dict[type, Kind] = {}  # those known so far: whoever sends looks here before it calls `kind_of`


def kind_of(cls: type) -> Kind:
    if not issubclass(cls, Struct):
        return PLAIN
    expected = reply_type(cls) if issubclass(cls, Request) else Any
    kind = KINDS[cls] = Kind(type_id(cls), decoder(expected), expected)
    return kind


def packed(message: Any) -> tuple[str, bytes]:
    """Type id and payload of a message. Raises BadMessage for a value that cannot be encoded."""
    cls = type(message)
    return (KINDS.get(cls) or kind_of(cls)).id, encode(message)
