"""Bytes to values and back; the one place where decoding errors become `BadMessage`.

Encoders and decoders are built once. msgspec lets `UnicodeDecodeError` and `RecursionError` escape on hostile input, so all
three are caught here. What is decoded is bounded in size before, by the frame or the edge it came over.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from ..errors import BadMessage
from .letter import Frame

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)

Buffer = bytes | bytearray | memoryview


def bad_message(error: Exception, what: str) -> BadMessage:
    """The typed error for bytes that are no valid `what`; names the field where msgspec does."""
    text = "nested too deep" if isinstance(error, RecursionError) else str(error)
    sentence, _, path = text.partition(" - at `")
    field = path.rstrip("`").removeprefix("$").removeprefix(".") or None
    return BadMessage(f"{what}: {sentence}" + (f", in field {field!r}" if field else ""), field=field)


def _encode_hook(value: Any) -> Any:
    """A ref travels as the name it stands for."""
    name = getattr(value, "__ref_name__", None)
    if name is None:
        raise TypeError(f"{type(value).__qualname__} cannot travel in a message; use what msgspec encodes: Structs, dataclasses, "
                        "dicts, lists, text, numbers, bytes, dates")  # fmt: skip
    return name


def _decode_hook(expected: type, value: Any) -> Any:
    build = getattr(expected, "__from_ref_name__", None)
    if build is None or not isinstance(value, str):
        raise TypeError(f"{expected.__qualname__} cannot be made of {value!r}")
    return build(value)


_payload_encode = msgspec.msgpack.Encoder(enc_hook=_encode_hook).encode
_generic_decode = msgspec.msgpack.Decoder().decode
_frame_encoder = msgspec.msgpack.Encoder()
_frame_decode = msgspec.msgpack.Decoder(Frame).decode

NONE = b"\xc0"  # the payload of a reply that is None


def encode(value: Any) -> bytes:
    """The payload of a message or reply. Raises BadMessage for a value that msgspec does not know."""
    try:
        return _payload_encode(value)
    except (msgspec.MsgspecError, TypeError, OverflowError, RecursionError, UnicodeEncodeError, ValueError) as error:
        raise bad_message(error, f"{type(value).__qualname__} cannot be sent") from error


@cache
def decoder(expected: Any) -> Callable[[Buffer], Any]:
    """A function from payload bytes to an `expected`; raises one of DECODE_ERRORS."""
    if expected is Any or expected is object:
        return _generic_decode
    return msgspec.msgpack.Decoder(expected, dec_hook=_decode_hook).decode


def decode(payload: Buffer, expected: Any = Any) -> Any:
    """Read a payload. Raises BadMessage when it is none, or not of the type."""
    try:
        return decoder(expected)(payload)
    except DECODE_ERRORS as error:
        raise bad_message(error, getattr(expected, "__qualname__", "payload")) from error


def convert(value: Any, expected: Any, *, lenient: bool = False, from_json: bool = False) -> Any:
    """Make an `expected` of plain values; `lenient` reads numbers and booleans from text, `from_json` any keys. Raises BadMessage."""
    try:
        return msgspec.convert(value, expected, strict=not lenient, str_keys=from_json, dec_hook=_decode_hook)
    except DECODE_ERRORS as error:
        raise bad_message(error, getattr(expected, "__qualname__", "payload")) from error


def to_json(payload: Buffer) -> bytes:
    """A payload as JSON text: what people and NATS see."""
    return msgspec.json.encode(decode(payload))


def encode_frame(frame: Frame, buffer: bytearray, offset: int) -> None:
    """Write a frame into `buffer` from `offset` on, cutting or growing the buffer to fit."""
    _frame_encoder.encode_into(frame, buffer, offset)


def decode_frame(data: Buffer) -> Frame:
    """Read one frame. Raises BadMessage."""
    try:
        return _frame_decode(data)
    except DECODE_ERRORS as error:
        raise bad_message(error, "frame") from error
