import datetime as dt
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsys import BadMessage, Event, Ref
from actorsys.mailbox import codec
from actorsys.mailbox.codec import convert, decode, decode_frame, decoder, encode, encode_frame, to_json
from actorsys.mailbox.letter import ASK, TELL, Failed, Frame, Letter, Ready
from actorsys.messages import Failure


class Add(Event):
    n: int


class Introduce(Event):
    friend: Ref
    others: list[Ref]


DEEP = b"\x91" * 100_000 + b"\xc0"  # beyond the limits of all supported versions

texts = st.text(max_size=20)
letters = st.builds(
    Letter,
    st.integers(0, 3),
    st.integers(0, 2**63 - 1),
    texts,
    texts,
    texts,
    st.binary(max_size=50),
    st.integers(1, 5),
    st.integers(0, 2**63 - 1),
    st.integers(0, 7),
    st.integers(0, 9),
    st.lists(texts, max_size=3).map(tuple),
    st.none() | st.dictionaries(texts, texts, max_size=2),
)
frames = st.builds(
    Frame,
    st.lists(st.integers(0, 2**63 - 1), max_size=4),
    st.lists(letters, max_size=4),
    st.lists(
        st.just(Ready()) | st.builds(Failed, st.integers(0, 9), st.builds(Failure, kind=texts, type=texts, message=texts)),
        max_size=2,
    ),
    st.integers(0, 2**63 - 1),
)


@pytest.mark.parametrize("value", [None, 5, "é", b"\x00", [1, {"a": 2.5}], {"k": [True]}, dt.datetime(2026, 1, 2, tzinfo=dt.UTC)])
def test_plain_values_come_back(value):
    assert decode(encode(value), type(value)) == value


def test_none_has_its_constant():
    assert encode(None) == codec.NONE


def test_a_ref_travels_as_its_name():
    message = Introduce(Ref("a"), [Ref("b"), Ref("c/1")])
    assert decode(encode(message)) == {"friend": "a", "others": ["b", "c/1"]}
    assert decode(encode(message), Introduce) == message


def test_a_ref_is_not_made_of_anything_but_text():
    with pytest.raises(BadMessage) as caught:
        decode(encode({"friend": 5, "others": []}), Introduce)
    assert caught.value.field == "friend"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (object(), "object cannot travel in a message"),
        (2**70, "cannot be sent"),
        ("\ud800", "cannot be sent"),
        ({1j: 1}, "complex"),
    ],
)
def test_what_cannot_be_encoded_is_a_bad_message(value, text):
    with pytest.raises(BadMessage, match=text):
        encode(value)


def test_a_value_that_contains_itself_is_a_bad_message():
    value: list[Any] = []
    value.append(value)
    with pytest.raises(BadMessage, match="nested too deep"):
        encode(value)


@pytest.mark.parametrize(
    ("payload", "field", "text"),
    [
        (encode({"n": "two"}), "n", "Add: Expected `int`, got `str`, in field 'n'"),
        (encode({}), None, "missing required field `n`"),
        (b"", None, "Add: "),
        (b"\xc1", None, "Add: "),
        (b"\x81\xa1n", None, "Add: "),
        (b"\x81\xa2\xff\xff\x01", None, "Add: "),
        (encode(5), None, "Expected `object`"),
        (encode({"n": 1}) + b"\x00", None, "Add: "),
    ],
)
def test_bytes_that_are_no_such_message_are_a_bad_message_that_names_the_field(payload, field, text):
    with pytest.raises(BadMessage) as caught:
        decode(payload, Add)
    assert caught.value.field == field
    assert text in caught.value.message


def test_depth_beyond_the_limit_is_a_bad_message():
    with pytest.raises(BadMessage, match="nested too deep"):
        decode(DEEP)


def test_a_type_without_a_name_is_called_payload():
    with pytest.raises(BadMessage, match=r"^payload: "):
        decode(encode("x"), int | list[int])


def test_convert_is_strict_unless_lenient():
    assert convert({"n": 2}, Add) == Add(2)
    assert convert({"n": "2"}, Add, lenient=True) == Add(2)
    for lenient in (False, True):
        with pytest.raises(BadMessage) as caught:
            convert({"n": "two"}, Add, lenient=lenient)
        assert caught.value.field == "n"
    with pytest.raises(BadMessage):
        convert({"n": "2"}, Add)
    with pytest.raises(BadMessage, match="cannot be made of"):
        convert(5, Ref)


def test_decoders_are_built_once():
    assert decoder(Add) is decoder(Add)
    assert decoder(Any) is decoder(object)


def test_a_payload_for_people_is_json():
    assert to_json(encode({"n": 2})) == b'{"n":2}'


def test_a_frame_is_written_behind_what_the_buffer_holds():
    buffer = bytearray(b"1234 and much more that is cut off by the end of the frame")
    encode_frame(Frame([1]), buffer, 4)
    assert buffer[:4] == b"1234"
    assert decode_frame(buffer[4:]) == Frame([1])


@given(frames)
def test_any_frame_comes_back(frame):
    buffer = bytearray()
    encode_frame(frame, buffer, 0)
    assert decode_frame(buffer) == frame


@given(st.binary(max_size=200))
def test_any_bytes_give_a_frame_or_a_bad_message(data):
    try:
        assert isinstance(decode_frame(data), Frame)
    except BadMessage:
        pass


@given(frames, st.data())
def test_a_damaged_frame_gives_a_frame_or_a_bad_message(frame, data):
    buffer = bytearray()
    encode_frame(frame, buffer, 0)
    for _ in range(data.draw(st.integers(1, 3))):
        buffer[data.draw(st.integers(0, len(buffer) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert isinstance(decode_frame(buffer[: data.draw(st.integers(0, len(buffer)))]), Frame)
    except BadMessage:
        pass


@settings(max_examples=40)
@given(st.recursive(st.none() | st.integers(-(2**63), 2**63) | st.text() | st.binary(), st.lists))
def test_any_msgpack_that_is_no_frame_is_a_bad_message(value):
    if isinstance(value, list):
        value = ["no frame", *value]
    with pytest.raises(BadMessage):
        decode_frame(msgspec.msgpack.encode(value))


@pytest.mark.parametrize("data", [DEEP, b"\x94\x90" + DEEP, b"\xdd\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"])
def test_hostile_frames_are_bad_messages(data):
    with pytest.raises(BadMessage, match=r"^frame: "):
        decode_frame(data)


def test_constants_fit_the_letters():
    assert (TELL, ASK) == (0, 1)
