import msgspec
import pytest

from actorsys.mailbox import letter as words
from actorsys.mailbox.codec import decode_frame
from actorsys.mailbox.letter import ASK, TELL, Cancel, Crashed, Failed, Frame, Full, Letter, Note, Stop, Stopped
from actorsys.messages import Failure
from actorsys.names import is_name

FAILURE = Failure(kind="RemoteError", type="ValueError", message="no")
NOTES = [
    words.Ready(),
    Stopped(by_itself=True),
    Crashed(FAILURE, starting=True),
    Failed(7, FAILURE),
    words.Forget(7),
    words.Credit(7, 128),
    words.Withdraw("a", "7", "b"),
    words.Command(7, "stop", {"names": ["a"]}),
    words.Snapshot(7, b"\x80"),
    words.Bus("connected"),
    words.Pong(7),
    words.Watch("monitor", "a"),
    words.Timing("Add", 0.25),
    Stop("shutdown", 2.5),
    words.Ping(7),
    words.Show(7),
    Full("a", reject=True),
    words.Room("a"),
    Cancel(7),
    words.Grant(7, 128),
]


@pytest.mark.parametrize("note", NOTES, ids=[type(note).__name__ for note in NOTES])
def test_every_note_arrives_as_it_was_sent(note):
    frame = decode_frame(msgspec.msgpack.encode(Frame(notes=[note])))
    assert frame.notes == [note]
    assert type(frame.notes[0]) is type(note)


def test_every_note_is_in_the_table_above_and_has_a_tag_of_its_own():
    assert {type(note) for note in NOTES} == set(Note.__subclasses__())
    assert len({cls.__struct_config__.tag for cls in Note.__subclasses__()}) == len(NOTES)


def test_a_letter_arrives_as_it_was_sent():
    letter = Letter(ASK, 7, "counter", "friend", "m:Add", b"\x81\xa1n\x02", 1, 99, 4, 2, ("a", "b"), {"reply": "x"})
    assert decode_frame(msgspec.msgpack.encode(Frame([1, 2], [letter], [], 5))) == Frame([1, 2], [letter], [], 5)


def test_a_letter_is_an_array_on_the_wire_so_that_field_names_cost_nothing():
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(Letter(TELL, 1, "a", "b", "T", b"")))[:6] == [
        TELL,
        1,
        "a",
        "b",
        "T",
        b"",
    ]


def test_no_agent_can_be_named_like_the_host():
    assert not is_name(words.HOST)
