"""How is a letter said as an envelope, and an envelope taken as a letter?

A typed message is `{"type": "Add", "n": 2}`. What a plain client need not know goes into the metadata, and only where it says something:

    type_id    the full id of a typed message, "shop.agents:Add"
    bare       true: the content has a field "type" of its own, or is no object; `type_id` alone tells the type
    lenient    true: fields are text from a command line
    timeout    seconds that the asker still waits
    when_down  "fail": do not wait for a restart
    stream     true, or {"to": subject}: answer in parts; see `streams`
    chain      the agents that wait for this ask, each with the run of its node: "editor@3f9ac21b7d00"
    trace      the id of the first message of the conversation
    confirm    where to say that a request is in custody; until then it is sent again under its id
    node       where the sender runs
"""

from typing import Any, Literal

from ..bus.envelope import Envelope
from ..errors import BadMessage
from ..mailbox.codec import convert, decode, encode
from ..mailbox.letter import FAIL_WHEN_DOWN, LENIENT, REMOTE, STREAM, TELL, Letter
from ..units import SECOND_NS

Kind = Literal["request", "direct", "broadcast", "notice"]


def short(type_id: str) -> str:
    """The class name in a type id.

    >>> short("shop.agents:Shop.Add")
    'Add'
    """
    return type_id.rpartition(":")[2].rpartition(".")[2]


def said(type_id: str, payload: bytes) -> tuple[Any, dict[str, Any]]:
    """Content and metadata for a message."""
    content = decode(payload)
    if ":" not in type_id:  # the command line knows no more than the class name, if that
        if type_id and isinstance(content, dict):
            content = {"type": type_id, **content}
        return content, {}
    metadata: dict[str, Any] = {"type_id": type_id}
    if isinstance(content, dict) and "type" not in content:
        return {"type": short(type_id), **content}, metadata
    return content, metadata | {"bare": True}


def letter(read: Envelope, kind: Kind, reply: str, to: str, *, run: str, now: int) -> Letter:
    """The letter for the mailbox of `to`. `run` is the one of this node. Raises BadMessage for content that a letter cannot carry."""
    metadata, content, type_id = read.metadata, read.content, ""
    if metadata and kind != "notice":
        type_id, content = _typed(content, metadata)
    made = Letter(TELL, 0, to, read.from_agent, type_id, encode(content), read.priority, 0, REMOTE)
    if metadata:  # a plain client sends none
        encode(metadata)  # raises BadMessage: JSON has numbers that no frame can carry
        _mark(made, metadata, kind, run, now)
    made.headers = {
        "kind": kind,
        "reply": reply,
        "message_type": read.message_type,
        "message_id": read.message_id,
        "timestamp": read.timestamp,
        "metadata": metadata,
        "in_reply_to": read.in_reply_to,
        "arrived": now,
    }
    return made


def _typed(content: Any, metadata: dict[str, Any]) -> tuple[str, Any]:
    """The full id of a typed message, and its fields alone; an empty id for what has none."""
    given = metadata.get("type_id")
    if isinstance(given, str) and ":" in given:
        if metadata.get("bare") is True:
            return given, content
        if isinstance(content, dict) and content.get("type") == short(given):
            return given, {name: value for name, value in content.items() if name != "type"}
    return "", content


def _mark(made: Letter, metadata: dict[str, Any], kind: Kind, run: str, now: int) -> None:
    """Give a letter what else its metadata say."""
    if metadata.get("lenient") is True:
        made.flags |= LENIENT
    if metadata.get("when_down") == "fail":
        made.flags |= FAIL_WHEN_DOWN
    if kind == "request" and (metadata.get("stream") is True or isinstance(metadata.get("stream"), dict)):
        made.flags |= STREAM
    timeout = metadata.get("timeout")
    if kind == "request" and isinstance(timeout, int | float) and 0 < timeout < 10**6:
        made.deadline = now + int(timeout * SECOND_NS)
    chain = metadata.get("chain")
    if isinstance(chain, list):
        made.chain = tuple(each.removesuffix(f"@{run}") for each in chain if isinstance(each, str))


def envelope_of(letter: Letter) -> Envelope:
    """The envelope that a letter was made of, without its content: what an answer needs to know."""
    headers = letter.headers or {}
    return Envelope(
        message_type=headers["message_type"],
        from_agent=letter.sender,
        to_agent=letter.to,
        content=None,
        metadata=headers["metadata"],
        timestamp=headers["timestamp"],
        message_id=headers["message_id"],
        in_reply_to=headers["in_reply_to"],
        priority=letter.priority,
    )


def chain_of(chain: tuple[str, ...], run: str) -> list[str]:
    """The agents that wait, as other nodes know them.

    >>> chain_of(("editor", "writer@b"), "a")
    ['editor@a', 'writer@b']
    """
    return [each if "@" in each else f"{each}@{run}" for each in chain]


def reply_value(content: Any, expected: Any) -> Any:
    """A reply of the type that its request names. Raises BadMessage."""
    try:
        return content if expected is Any else convert(content, expected, from_json=True)
    except BadMessage as error:
        raise BadMessage(f"the reply is not of the type that the request names: {error.message}", field=error.field) from error
