"""How does a message come from the socket to its subscription, the short way?

nats-py lets a stream reader wake a task, and that a parser that tries one kind of line after another: 25 us for each read. As long
as that task waits with nothing half read, whole messages are cut out of what the socket brings at once; all else is left to it:
headers, half messages, what the server says for itself.
"""

import re
from asyncio import StreamReader
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nats.protocol.parser import AWAITING_CONTROL_LINE, PONG, Parser

if TYPE_CHECKING:
    from .nats_client import Connection

_END = b"\r\n"
# As servers write it; whatever else nats-py makes sense of, or not, is its own. Python refuses to read thousands of digits.
_line = re.compile(rb"MSG (\S+) (\d{1,18}) (?:(\S+) )?(\d{1,18})\r\n").match


def shorten(reader: StreamReader, client: "Connection", parser: Parser) -> None:
    """Let `reader` hand whole messages and answers to pings to `client` instead of keeping them for nats-py's task."""
    shortened: Any = reader  # its insides are not in its types
    keep: Callable[[bytes], None] = reader.feed_data

    def feed(data: bytes) -> None:
        at = 0
        # `_waiter`: the task is in `read`. So whatever was fed before has been handled to the end, and order is kept.
        if shortened._waiter is not None and not (shortened._buffer or parser.buf) and parser.state == AWAITING_CONTROL_LINE:
            at = _taken(data, client)
        if at < len(data):
            keep(data[at:] if at else data)

    shortened.feed_data = feed


def _taken(data: bytes, client: "Connection") -> int:
    """How many bytes from the start are whole messages; they are delivered."""
    at = 0
    while True:
        if line := _line(data, at):
            subject, sid, reply, size = line.groups(b"")
            begin = line.end()
            end = begin + int(size)
            if data[end : end + 2] != _END or not client.take(int(sid), subject, reply, data[begin:end]):
                return at
            at = end + 2
        elif data.startswith(PONG, at):
            client.ponged()
            at += len(PONG)
        else:
            return at
