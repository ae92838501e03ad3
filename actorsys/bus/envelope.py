"""What does a message look like on NATS?

JSON with exactly nine fields, all of them required; `to_agent` and `in_reply_to` may be null. A field we do not know is kept
in `metadata`, so that newer and foreign senders lose nothing. Whatever is wrong raises BadMessage with the name of the field.
Identity and time come from outside, as a `Stamp`: this module reads no clock.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from ..errors import BadMessage
from ..messages import Failure
from .depth import is_deeper_than

MAX_DEPTH = 64

MessageType = Literal["request", "response", "handoff", "announcement", "heartbeat", "message", "broadcast", "error"]
NAME = r"[A-Za-z][A-Za-z0-9_-]{0,62}(/[0-9]{1,9})?"
AgentName = Annotated[str, Meta(pattern=rf"^{NAME}\Z")]
Priority = Annotated[int, Meta(ge=1, le=5)]


class Stamp(Struct, frozen=True):
    """What makes a message this message."""

    message_id: str  # a UUID
    timestamp: datetime  # with a time zone; UTC on the wire


class Envelope(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Names are those of agents, ids UUIDs in small letters: `decode` sees to it."""

    message_type: MessageType
    from_agent: str
    to_agent: str | None  # null: everyone, or whoever listens on the subject
    content: Any  # any JSON value; a typed message is {"type": "Add", "n": 2}
    metadata: dict[str, Any]
    timestamp: Annotated[datetime, Meta(tz=True)]
    message_id: str
    in_reply_to: str | None
    priority: Priority  # 1 (urgent) to 5


class Origin(Struct, frozen=True):
    """Of a message what its answer needs; of bytes that are no envelope, as much as is known."""

    from_agent: str | None = None
    message_id: str | None = None
    priority: int = 3


class _Wire(Struct):
    message_type: MessageType
    from_agent: AgentName
    to_agent: AgentName | None
    content: Any
    metadata: dict[str, Any]
    timestamp: Annotated[datetime, Meta(tz=True)]
    message_id: UUID
    in_reply_to: UUID | None
    priority: Priority


FIELDS = frozenset(_Wire.__struct_fields__)
_encoder = msgspec.json.Encoder()
_read = msgspec.json.Decoder(Envelope).decode
# Not as patterns of the Struct: it would match those in three times the time of all the rest.
_is_name = re.compile(NAME).fullmatch
_is_id = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch
_FIELD_IN_TEXT = re.compile(r"`\$\.([a-z_]+)|field `([a-z_]+)`")


def decode(data: bytes, *, limit: int) -> Envelope:
    """Read an envelope of at most `limit` bytes.

    Raises BadMessage, and nothing else, for everything that is not one; size and depth are checked before decoding.
    """
    _check(data, limit)
    try:
        read = _read(data)
        if _is_usual(read):
            return read
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        pass  # a field more, a UUID in capitals, or something wrong: what it is, the long way says
    fields = _decode_object(data)
    unknown = {name: fields.pop(name) for name in fields.keys() - FIELDS}
    try:
        wire = msgspec.convert(fields, _Wire)
        timestamp = wire.timestamp.astimezone(UTC)
    except msgspec.MsgspecError as error:
        raise _explain(str(error)) from None
    except (OverflowError, ValueError):  # a year that UTC cannot express
        raise BadMessage("the envelope's 'timestamp' is out of range.", field="timestamp") from None
    return Envelope(
        message_type=wire.message_type,
        from_agent=wire.from_agent,
        to_agent=wire.to_agent,
        content=wire.content,
        metadata={**unknown, **wire.metadata},
        timestamp=timestamp,
        message_id=str(wire.message_id),
        in_reply_to=None if wire.in_reply_to is None else str(wire.in_reply_to),
        priority=wire.priority,
    )


def _is_usual(read: Envelope) -> bool:
    """Whether it is spelt as we spell it; any other is read as a `_Wire`."""
    to, about = read.to_agent, read.in_reply_to
    return bool(
        read.timestamp.tzinfo is UTC
        and _is_name(read.from_agent)
        and (to is None or _is_name(to))
        and _is_id(read.message_id)
        and (about is None or _is_id(about))
    )


def origin(data: bytes, *, limit: int) -> Origin:
    """Who sent bytes that `decode` refused, and under which id, as far as can be told; never raises."""
    try:
        _check(data, limit)
        fields = _decode_object(data)
    except BadMessage:
        return Origin()

    def read(name: str, kind: Any) -> str | None:
        try:
            return str(msgspec.convert(fields[name], kind))
        except (KeyError, msgspec.MsgspecError):
            return None

    return Origin(from_agent=read("from_agent", AgentName), message_id=read("message_id", UUID))


def encode(envelope: Envelope) -> bytes:
    """The bytes to publish; raises BadMessage for content that is no JSON."""
    try:
        return _encoder.encode(envelope)
    except (msgspec.MsgspecError, UnicodeEncodeError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise BadMessage(f"the content cannot be written as JSON: {error}.", field="content") from error


def _check(data: bytes, limit: int) -> None:
    if len(data) > limit:
        raise BadMessage(f"the envelope has {len(data)} bytes, more than the {limit} allowed.", field="envelope")
    if is_deeper_than(MAX_DEPTH, data):
        raise BadMessage(f"the envelope is nested deeper than {MAX_DEPTH}, or its brackets do not match.", field="envelope")


def _decode_object(data: bytes) -> dict[str, Any]:
    try:
        fields = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage(f"the envelope is no JSON: {error}.", field="envelope") from None
    if not isinstance(fields, dict):
        raise BadMessage(f"the envelope is a JSON object with nine fields, not a {type(fields).__name__}.", field="envelope")
    return fields


def _explain(text: str) -> BadMessage:
    found = _FIELD_IN_TEXT.search(text)
    name = (found[1] or found[2]) if found else "envelope"
    if text.startswith("Object missing"):
        return BadMessage(f"the envelope has no {name!r}; all nine fields are required (null where there is none).", field=name)
    wanted = f" Known types: {', '.join(get_args(MessageType))}." if name == "message_type" else ""
    return BadMessage(f"the envelope's {name!r} is wrong: {text.partition(' - at')[0]}.{wanted}", field=name)


def _new(kind: MessageType, sender: str, to: str | None, content: Any, stamp: Stamp, **rest: Any) -> Envelope:
    return Envelope(
        message_type=kind,
        from_agent=sender,
        to_agent=to,
        content=content,
        metadata=rest.get("metadata") or {},
        timestamp=stamp.timestamp,
        message_id=stamp.message_id,
        in_reply_to=rest.get("in_reply_to"),
        priority=rest.get("priority", 3),
    )


def message(
    sender: str,
    to: str,
    content: Any,
    stamp: Stamp,
    *,
    metadata: dict[str, Any] | None = None,
    in_reply_to: str | None = None,
    priority: int = 3,
) -> Envelope:
    """Something told to one agent."""
    return _new("message", sender, to, content, stamp, metadata=metadata, in_reply_to=in_reply_to, priority=priority)


def request(
    sender: str, to: str, content: Any, stamp: Stamp, *, metadata: dict[str, Any] | None = None, priority: int = 3
) -> Envelope:
    """A question to one agent; the answer goes to the reply subject of the NATS message."""
    return _new("request", sender, to, content, stamp, metadata=metadata, priority=priority)


def response(
    to: Envelope | Origin, content: Any, stamp: Stamp, *, sender: str, metadata: dict[str, Any] | None = None
) -> Envelope:
    """The answer to an envelope, at its priority."""
    return Envelope(
        message_type="response",
        from_agent=sender,
        to_agent=to.from_agent,
        content=content,
        metadata=metadata or {},
        timestamp=stamp.timestamp,
        message_id=stamp.message_id,
        in_reply_to=to.message_id,
        priority=to.priority,
    )


def error(to: Envelope | Origin | None, failure: Failure, stamp: Stamp, *, sender: str) -> Envelope:
    """Says that a message could not be handled, and why; the content is the failure as JSON."""
    to = to or Origin()
    content = msgspec.to_builtins(failure, enc_hook=str, str_keys=True)
    return _new("error", sender, to.from_agent, content, stamp, in_reply_to=to.message_id)


def failure(envelope: Envelope) -> Failure:
    """The failure inside an error envelope; raises BadMessage if there is none."""
    try:
        return msgspec.convert(envelope.content, Failure)
    except msgspec.MsgspecError as problem:
        raise BadMessage(f"the error envelope holds no failure: {problem}.", field="content") from None


def handoff(
    sender: str, to: str, content: Any, stamp: Stamp, *, metadata: dict[str, Any] | None = None, priority: int = 1
) -> Envelope:
    """A task handed over to another agent."""
    return _new("handoff", sender, to, content, stamp, metadata=metadata, priority=priority)


def announcement(sender: str, event: Literal["join", "leave"], stamp: Stamp, **about: Any) -> Envelope:
    """An agent came or went; `about` are node, capabilities, description and the like."""
    return _new("announcement", sender, None, {"event": event, **about}, stamp)


def heartbeat(sender: str, status: str, stamp: Stamp, **about: Any) -> Envelope:
    """An agent is there, and how it is."""
    return _new("heartbeat", sender, None, {"status": status, **about}, stamp, priority=5)


def broadcast(sender: str, content: Any, stamp: Stamp, *, metadata: dict[str, Any] | None = None, priority: int = 3) -> Envelope:
    """Something told to everyone."""
    return _new("broadcast", sender, None, content, stamp, metadata=metadata, priority=priority)
