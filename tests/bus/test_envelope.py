"""Every envelope survives the wire; everything else is a BadMessage that names the field."""

import json
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsys.bus import envelope as env
from actorsys.bus import stamp
from actorsys.errors import BadMessage, MailboxFull
from actorsys.messages import Failure
from actorsys.names import NAME

LIMIT = 2**20
STAMP = env.Stamp("6f1a7b1e-8b0c-4d53-9a36-2f1b3c4d5e6f", datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC))
GOOD: dict[str, Any] = {
    "message_type": "request",
    "from_agent": "editor",
    "to_agent": "Fact-Checker",
    "content": {"type": "Add", "n": 2},
    "metadata": {"trace": "x"},
    "timestamp": "2026-01-02T03:04:05.678Z",
    "message_id": STAMP.message_id,
    "in_reply_to": None,
    "priority": 3,
}

text = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner) | st.dictionaries(text, inner),
)
names = st.from_regex(NAME, fullmatch=True)
envelopes = st.builds(
    env.Envelope,
    message_type=st.sampled_from(get_args(env.MessageType)),
    from_agent=names,
    to_agent=st.none() | names,
    content=json_values,
    metadata=st.dictionaries(text, json_values),
    timestamp=st.datetimes(timezones=st.just(UTC)),
    message_id=st.uuids().map(str),
    in_reply_to=st.none() | st.uuids().map(str),
    priority=st.integers(1, 5),
)


def read(fields: Any) -> env.Envelope:
    return env.decode(json.dumps(fields).encode(), limit=LIMIT)


def wrong(data: bytes, limit: int = LIMIT) -> BadMessage:
    with pytest.raises(BadMessage) as caught:
        env.decode(data, limit=limit)
    env.origin(data, limit=limit)  # never raises
    return caught.value


def field_of(data: bytes) -> str | None:
    """The field that is wrong, or None for an envelope; "" would be an error that names none."""
    try:
        env.decode(data, limit=LIMIT)
    except BadMessage as error:
        return error.field or ""
    return None


@settings(max_examples=30)
@given(envelopes)
def test_an_envelope_comes_back_as_it_went(envelope: env.Envelope) -> None:
    assert env.decode(env.encode(envelope), limit=2**30) == envelope


@settings(max_examples=30)
@given(envelopes)
def test_one_that_is_spelt_otherwise_reads_the_same(envelope: env.Envelope) -> None:
    fields = json.loads(env.encode(envelope)) | {"from_elsewhere": 1}
    for name in ("message_id", "in_reply_to"):
        fields[name] = fields[name] and fields[name].upper()
    again = env.decode(json.dumps(fields).encode(), limit=2**30)
    assert again == msgspec.structs.replace(envelope, metadata={"from_elsewhere": 1, **envelope.metadata})


@settings(max_examples=30)
@given(envelopes)
def test_the_wire_has_exactly_nine_fields(envelope: env.Envelope) -> None:
    assert set(json.loads(env.encode(envelope))) == set(GOOD)


@pytest.mark.parametrize("field", GOOD)
def test_each_field_is_required(field: str) -> None:
    error = wrong(json.dumps({name: value for name, value in GOOD.items() if name != field}).encode())
    assert error.field == field
    assert field in error.message


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("message_type", "shout"),
        ("message_type", None),
        ("from_agent", ""),
        ("from_agent", None),
        ("from_agent", "a.b"),
        ("from_agent", "a\n"),
        ("to_agent", "*"),
        ("to_agent", 1),
        ("metadata", []),
        ("metadata", None),
        ("timestamp", "yesterday"),
        ("timestamp", "2026-01-02T03:04:05"),
        ("timestamp", "0001-01-01T00:00:00+14:00"),
        ("timestamp", 5),
        ("message_id", "7"),
        ("message_id", None),
        ("in_reply_to", ""),
        ("priority", 0),
        ("priority", 6),
        ("priority", True),
        ("priority", "3"),
        ("priority", 10**40),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    assert wrong(json.dumps({**GOOD, field: value}).encode()).field == field


def test_unknown_fields_are_kept_in_metadata_and_never_overwrite_it() -> None:
    envelope = read({**GOOD, "trace": "outer", "new": [1]})
    assert envelope.metadata == {"trace": "x", "new": [1]}


def test_any_offset_is_understood_as_the_same_moment() -> None:
    here = datetime(2026, 1, 2, 5, 4, 5, 678000, tzinfo=timezone(timedelta(hours=2)))
    assert read({**GOOD, "timestamp": here.isoformat()}).timestamp == STAMP.timestamp


@pytest.mark.parametrize(
    "data", [b"", b"null", b"[]", b'"x"', b"1", b"{", b"\xff\xfe", b'{"a":"\xff"}', b'{"a":"\\ud800"}', b"NaN"]
)
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    assert wrong(data).field == "envelope"


def test_size_is_checked_before_anything_else() -> None:
    assert "more than the 10 allowed" in wrong(b"\xff" * 11, limit=10).message


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
@pytest.mark.parametrize("depth", [65, 1000, 100_000])
def test_a_depth_bomb_is_refused(opening: bytes, depth: int) -> None:
    assert wrong(b'{"content":' + opening * depth, limit=2**30).field == "envelope"
    closing = {b"[": b"]", b'{"a":': b"1}", b'[{"a":': b"1}]"}[opening]
    if closing == b"]":
        assert wrong(b'{"content":' + opening * depth + closing * depth + b"}", limit=2**30).field == "envelope"


def test_brackets_in_text_and_in_a_row_are_no_depth() -> None:
    assert read({**GOOD, "content": ["[" * 1000, '\\"[[{' * 500, [[]] * 1000]}).content[0] == "[" * 1000


@pytest.mark.parametrize("unit", [b'\\"', b'"', b"\\", b'"\\', b"[]", b"[", b'{"', b'"[', b"1,"])
def test_a_megabyte_of_anything_is_refused_in_a_moment(unit: bytes) -> None:
    data = b'{"content":"' + unit * (LIMIT // len(unit) - 20)
    began = time.process_time()
    wrong(data)
    assert time.process_time() - began < 2.0  # linear: 20 ms; a quadratic scan takes hours


@pytest.mark.parametrize("number", ["1" * 5000, "1e999", "-" + "9" * 400])
def test_numbers_beyond_reason_are_refused_or_kept(number: str) -> None:
    data = json.dumps(GOOD).replace('{"type": "Add", "n": 2}', number).encode()
    assert field_of(data) in (None, "envelope", "content")


@settings(max_examples=60)
@given(st.binary(max_size=200) | text.map(str.encode) | json_values.map(lambda value: json.dumps(value).encode()))
def test_garbage_is_a_bad_message(data: bytes) -> None:
    assert wrong(data).field


@settings(max_examples=300)
@given(st.data())
def test_a_damaged_envelope_is_an_envelope_or_a_bad_message(data: st.DataObject) -> None:
    raw = bytearray(json.dumps(GOOD).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    assert field_of(bytes(raw)) != ""


@pytest.mark.parametrize("content", [object(), "\ud800", {"a": {1, object()}}, {(1, 2): 3}])
def test_content_that_is_no_json_is_refused(content: Any) -> None:
    with pytest.raises(BadMessage) as caught:
        env.encode(env.message("a", "b", content, STAMP))
    assert caught.value.field == "content"


def test_content_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(BadMessage):
        env.encode(env.message("a", "b", loop, STAMP))


def test_each_builder_makes_a_valid_envelope() -> None:
    question = env.request("editor", "counter", {"type": "Add", "n": 2}, STAMP, priority=2)
    made = [
        question,
        env.response(question, 5, STAMP, sender="counter"),
        env.error(question, Failure.of(MailboxFull("no room")), STAMP, sender="counter"),
        env.error(None, Failure.of(ValueError("x")), STAMP, sender="counter"),
        env.message("editor", "counter", "hello", STAMP, in_reply_to=question.message_id),
        env.handoff("editor", "counter", {"task": 1}, STAMP),
        env.announcement("editor", "join", STAMP, node="n1", capabilities=["edit"]),
        env.heartbeat("editor", "running", STAMP, mailbox=3),
        env.broadcast("editor", "hi all", STAMP, metadata={"a": 1}),
    ]
    assert [env.decode(env.encode(envelope), limit=LIMIT) for envelope in made] == made
    assert {envelope.message_type for envelope in made} == set(get_args(env.MessageType))
    answer = made[1]
    assert (answer.to_agent, answer.in_reply_to, answer.priority) == ("editor", question.message_id, 2)
    assert made[5].priority == 1


def test_an_error_reply_carries_the_failure_and_raises_on_the_other_side() -> None:
    failure = Failure.of(MailboxFull("no room"))
    reply = env.decode(env.encode(env.error(None, failure, STAMP, sender="counter")), limit=LIMIT)
    assert (reply.to_agent, reply.in_reply_to) == (None, None)
    assert set(reply.content) >= {"kind", "type", "message"}
    assert isinstance(env.failure(reply).error(), MailboxFull)
    with pytest.raises(BadMessage):
        env.failure(env.message("a", "b", "no failure", STAMP))


def test_details_that_are_no_json_do_not_stop_an_error_reply() -> None:
    failure = Failure(kind="RemoteError", type="X", message="m", details={"what": object()})
    env.encode(env.error(None, failure, STAMP, sender="counter"))


def test_who_sent_a_broken_envelope_is_told_as_far_as_it_is_known() -> None:
    broken = json.dumps({**GOOD, "priority": 9}).encode()
    assert env.origin(broken, limit=LIMIT) == env.Origin("editor", STAMP.message_id)
    assert env.origin(b'{"from_agent": "a b", "message_id": 3}', limit=LIMIT) == env.Origin()
    assert env.origin(b"{", limit=LIMIT) == env.Origin()
    reply = env.error(env.origin(broken, limit=LIMIT), Failure.of(wrong(broken)), STAMP, sender="counter")
    assert (reply.to_agent, reply.in_reply_to) == ("editor", STAMP.message_id)


def test_stamps_differ_and_are_valid() -> None:
    one, two = stamp.fresh(), stamp.fresh()
    assert one.message_id != two.message_id
    made = env.message("a", "b", 1, one)
    assert env.decode(env.encode(made), limit=LIMIT) == made
