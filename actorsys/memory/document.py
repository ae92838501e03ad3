"""The text of a state file: one document that people can read, and that tells when it is not whole.

    actorsys-state 1 length=143 crc32=1c291ca3
    {
      "run": "5f0c2a",
      "state": {
        "seen": ["a","b"],
        "total": 7
      },
      "frames": []
    }

A value that JSON would change (bytes, dates, keys that are numbers) stands as {"$msgpack": "base64"}.
"""

import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from ..errors import BadMessage
from ..mailbox.codec import DECODE_ERRORS, decode, encode
from .base import StoredFrame

FORMAT = 1
ESCAPE = "$msgpack"
_HEADER = re.compile(rb"actorsys-state (\d+) length=(\d+) crc32=([0-9a-f]{8})\n")


class Unreadable(Exception):
    """A file that is no state, or not all of it."""


class Document(Struct):
    run: str
    state: dict[str, Any]
    frames: list[tuple[list[str], str]]


def value_line(key: str, value: bytes) -> bytes:
    """One encoded value as a line of the document, without its comma.

    >>> value_line("total", b"\\x07"), value_line("raw", b"\\xc4\\x01\\xff")
    (b'"total": 7', b'"raw": {"$msgpack":"xAH/"}')
    """
    return msgspec.json.encode(key) + b": " + _shown(value)


def _shown(value: bytes) -> bytes:
    escaped = msgspec.json.encode({ESCAPE: b64encode(value).decode()})
    try:
        text = msgspec.json.encode(plain := decode(value))
        is_same = encode(msgspec.json.decode(text)) == value and not (isinstance(plain, dict) and ESCAPE in plain)
    except (BadMessage, TypeError, ValueError, *DECODE_ERRORS):
        return escaped
    return text if is_same else escaped


def render(run: str, lines: Sequence[bytes], frames: Sequence[StoredFrame]) -> bytes:
    """The whole file, header first."""
    shown = [msgspec.json.encode([frame.message_ids, b64encode(frame.frame).decode()]) for frame in frames]
    body = b'{\n  "run": %s,\n  "state": {%s},\n  "frames": [%s]\n}\n' % (
        msgspec.json.encode(run),
        b"\n    " + b",\n    ".join(lines) + b"\n  " if lines else b"",
        b"\n    " + b",\n    ".join(shown) + b"\n  " if shown else b"",
    )
    return header(body) + body


def header(body: bytes) -> bytes:
    return b"actorsys-state %d length=%d crc32=%08x\n" % (FORMAT, len(body), zlib.crc32(body))


def parse(data: bytes) -> tuple[str, dict[str, bytes], list[StoredFrame]]:
    """The run, the encoded values and the frames. Raises Unreadable."""
    found = _HEADER.match(data)
    if found is None:
        raise Unreadable("its first line is not that of a state file" if data else "it is empty")
    body = data[found.end() :]
    if int(found[1]) != FORMAT:
        raise Unreadable(f"its format is {int(found[1])}; this version reads {FORMAT}")
    if len(body) != int(found[2]):
        raise Unreadable(f"it has {len(body)} bytes instead of {int(found[2])}")
    if zlib.crc32(body) != int(found[3], 16):
        raise Unreadable("its checksum is wrong")
    return content(body)


def content(body: bytes) -> tuple[str, dict[str, bytes], list[StoredFrame]]:
    try:
        document = msgspec.json.decode(body, type=Document)
        values = {key: _hidden(value) for key, value in document.state.items()}
        frames = [StoredFrame(tuple(ids), b64decode(frame, validate=True)) for ids, frame in document.frames]
    except (BadMessage, ValueError, *DECODE_ERRORS) as error:
        raise Unreadable(str(error)) from error
    return document.run, values, frames


def _hidden(value: Any) -> bytes:
    if isinstance(value, dict) and isinstance(packed := value.get(ESCAPE), str) and len(value) == 1:
        return b64decode(packed, validate=True)
    return encode(value)
