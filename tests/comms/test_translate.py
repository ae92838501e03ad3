import datetime as dt

import pytest

from actorsys import BadMessage, Request
from actorsys.bus import envelope
from actorsys.bus.envelope import Stamp
from actorsys.comms import translate
from actorsys.mailbox.codec import decode, encode
from actorsys.mailbox.kinds import packed
from actorsys.mailbox.letter import FAIL_WHEN_DOWN, LENIENT, REMOTE, TELL, Letter, wants_answer

STAMP = Stamp("7f1f0cb4-9a3f-4b6e-8f3d-0d4f7f3c1f11", dt.datetime(2026, 1, 2, tzinfo=dt.UTC))


class Add(Request[int]):
    n: int
    raw: bytes = b""


class Typed(Request[int]):
    type: str


def carried(type_id, payload, /, kind="request", reply="r", **metadata):
    """The letter that arrives for a message."""
    content, about = translate.said(type_id, payload)
    sent = envelope.request("editor", "counter", content, STAMP, metadata=about | metadata, priority=2)
    read = envelope.decode(envelope.encode(sent), limit=2**20)
    return translate.letter(read, kind, reply, "counter/0", run="here", now=1000)


def test_a_typed_message_says_its_type_as_the_page_has_it():
    assert translate.said(*packed(Add(2))) == ({"type": "Add", "n": 2, "raw": b""}, {"type_id": f"{__name__}:Add"})
    assert translate.said("", encode("hello")) == ("hello", {})
    assert translate.said("Add", encode({"n": 2})) == ({"type": "Add", "n": 2}, {})


@pytest.mark.parametrize("message", [Add(2, b"\xff\x00"), Typed("Typed"), Typed("x")])
def test_a_typed_message_arrives_with_its_type_and_fields(message):
    letter = carried(*packed(message))
    assert letter.type == f"{__name__}:{type(message).__name__}"
    assert translate.reply_value(decode(letter.payload), type(message)) == message


def test_a_letter_knows_who_sent_it_and_whom_to_answer():
    letter = carried(*packed(Add(2)))
    assert (letter.kind, letter.to, letter.sender, letter.priority, letter.flags) == (TELL, "counter/0", "editor", 2, REMOTE)
    assert wants_answer(letter)
    assert not wants_answer(carried(*packed(Add(2)), reply=""))
    assert not wants_answer(carried(*packed(Add(2)), kind="direct"))
    again = translate.envelope_of(letter)
    assert (again.message_id, again.from_agent, again.priority) == (STAMP.message_id, "editor", 2)


def test_what_the_metadata_say_of_deadline_and_chain():
    chain = ["one@here", "two@there", 3]
    letter = carried(*packed(Add(2)), timeout=2, chain=chain, lenient=True, when_down="fail")
    assert letter.deadline == 1000 + 2 * 10**9
    assert letter.chain == ("one", "two@there")
    assert letter.flags == REMOTE | LENIENT | FAIL_WHEN_DOWN
    assert translate.chain_of(letter.chain, "here") == ["one@here", "two@there"]


@pytest.mark.parametrize(
    "metadata",
    [{"timeout": "soon"}, {"timeout": -1}, {"chain": "x"}, {"type_id": 5}, {"type_id": "m:Other"}, {"lenient": "yes"}],
)
def test_what_is_said_wrongly_counts_as_not_said(metadata):
    letter = carried("", encode({"type": "Add", "n": 2}), **metadata)
    assert (letter.type, letter.deadline, letter.chain, letter.flags) == ("", 0, (), REMOTE)
    assert decode(letter.payload) == {"type": "Add", "n": 2}


def test_a_notice_is_never_of_a_type():
    assert carried(*packed(Add(2)), kind="notice").type == ""


def test_a_reply_of_another_type_is_a_bad_message():
    assert translate.reply_value("text", int | str) == "text"
    with pytest.raises(BadMessage, match="not of the type"):
        translate.reply_value("text", int)


def test_a_letter_from_elsewhere_needs_an_envelope_to_be_answered():
    with pytest.raises(KeyError):
        translate.envelope_of(Letter(TELL, 0, "a", "b", "", b""))
