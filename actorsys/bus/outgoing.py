"""May this be published, and where does it wait while there is no connection?"""

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct

from ..errors import BadMessage, Unreachable

_HEADER = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[^\r\n\0]*")
_ENVELOPE = len("NATS/1.0\r\n\r\n")
# nats-py 2.16 checks the payload alone; with headers beyond the limit the server ends the connection. We count as the server
# does and leave some room, in case a proxy or an account adds a header of its own.
_MARGIN = 64


class Letter(Struct, frozen=True):
    subject: str
    payload: bytes
    reply: str
    headers: dict[str, str] | None

    @property
    def size(self) -> int:
        return len(self.payload) + header_size(self.headers) + len(self.subject) + len(self.reply) + 32


def header_size(headers: Mapping[str, str] | None) -> int:
    """The bytes that headers take on the wire."""
    if not headers:
        return 0
    return _ENVELOPE + sum(len(key) + len(value.encode()) + 4 for key, value in headers.items())


def check_size(payload: bytes, headers: Mapping[str, str] | None, max_payload: int) -> None:
    """Raise BadMessage for what the server would answer by ending the connection."""
    size = len(payload)
    if headers:
        size += header_size(headers) + _MARGIN
    if size > max_payload:
        what = "payload and headers" if headers else "the payload"
        raise BadMessage(f"{what} take {size} bytes; the NATS server takes at most {max_payload}.", field="payload")


def check_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """A copy of headers that can be sent as they are; raise BadMessage for the first that cannot."""
    for key, value in headers.items():
        if _HEADER.fullmatch(key) is None or _VALUE.fullmatch(value) is None or value != value.strip():
            raise BadMessage(f"the header {key[:80]!r} is wrong: ASCII name, value on one line.", field=f"headers.{key[:80]}")
        try:
            value.encode()
        except UnicodeEncodeError:
            raise BadMessage(f"the header {key[:80]!r} is no valid text.", field=f"headers.{key[:80]}") from None
    return dict(headers)


def to_json(value: Any) -> bytes:
    """JSON bytes; raises BadMessage for what JSON cannot say."""
    try:
        return msgspec.json.encode(value)
    except (msgspec.MsgspecError, UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadMessage(f"the value cannot be written as JSON: {error}.", field="payload") from error


class Outbox:
    """Publications in order, bounded in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._letters: deque[Letter] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._letters)

    def put(self, letter: Letter, reason: str) -> None:
        """Keep a letter; raise Unreachable when there is no room."""
        if self._bytes + letter.size > self._limit:
            why = f" ({reason})" if reason else ""
            raise Unreachable(f"NATS is not connected{why}, and the {self._limit} bytes that wait for it leave no room.")
        self._letters.append(letter)
        self._bytes += letter.size

    def first(self) -> Letter:
        return self._letters[0]

    def drop_first(self) -> None:
        self._bytes -= self._letters.popleft().size

    def clear(self) -> int:
        """Forget all; how many there were."""
        count = len(self._letters)
        self._letters.clear()
        self._bytes = 0
        return count
