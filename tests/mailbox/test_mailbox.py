import pytest
from hypothesis import given
from hypothesis import strategies as st

from actorsys.mailbox.letter import TELL, Letter
from actorsys.mailbox.mailbox import LETTER_BYTES, TURN, WINDOW_BYTES, Lanes, Mailbox
from actorsys.spec import MailboxSpec
from actorsys.units import Bytes


def letter(number, priority=3, payload=b""):
    return Letter(TELL, number, "a", "b", "T", payload, priority)


def lanes(*letters):
    lanes = Lanes()
    for one in letters:
        lanes.put(one)
    return lanes


def mailbox(*letters, **spec):
    box = Mailbox("a/0", MailboxSpec(**spec))
    for one in letters:
        box.put(one)
    return box


def ids(letters):
    return [one.id for one in letters]


# --- lanes


def test_higher_priority_goes_first_and_within_one_the_first_in():
    queue = lanes(letter(1, 5), letter(2, 3), letter(3, 1), letter(4, 3), letter(5, 1))
    assert ids(queue.take() for _ in range(3)) == [3, 5, 2]


@pytest.mark.parametrize("low", [2, 3, 4, 5])
def test_a_lower_lane_gets_at_least_one_of_sixteen(low):
    queue = lanes(*(letter(number, 1) for number in range(200)), *(letter(1000 + number, low) for number in range(200)))
    taken = [queue.take().priority for _ in range(160)]
    for start in range(0, 160, TURN):
        assert low in taken[start : start + TURN]
    assert taken.count(1) >= 100


def test_every_one_of_four_lower_lanes_gets_at_least_one_of_sixteen():
    queue = lanes(*(letter(number, priority) for number in range(200) for priority in range(1, 6)))
    taken = [queue.take().priority for _ in range(160)]
    for start in range(0, 160, TURN):
        assert set(taken[start : start + TURN]) == {1, 2, 3, 4, 5}


def test_taking_from_nothing_is_an_index_error():
    with pytest.raises(IndexError):
        lanes().take()


def test_the_oldest_of_the_lowest_lane_is_dropped_first():
    queue = lanes(letter(1, 1), letter(2, 4), letter(3, 4), letter(4, 2))
    assert ids(queue.drop_oldest() for _ in range(4)) == [2, 3, 4, 1]
    assert len(queue) == 0


def test_a_letter_is_removed_wherever_it_waits():
    queue = lanes(one := letter(1, 2), letter(2, 3))
    queue.remove(one)
    assert ids(queue) == [2]
    assert len(queue) == 1


@given(st.lists(st.integers(1, 5)))
def test_whatever_goes_in_comes_out_once_and_in_order_within_its_priority(priorities):
    queue = lanes(*(letter(number, priority) for number, priority in enumerate(priorities)))
    out = [queue.take() for _ in priorities]
    assert sorted(ids(out)) == list(range(len(priorities)))
    for priority in range(1, 6):
        of_one = [one.id for one in out if one.priority == priority]
        assert of_one == sorted(of_one)


# --- custody


def test_the_window_bounds_what_is_out():
    box = mailbox(*(letter(number) for number in range(5)), window=2)
    assert ids(box.take()) == [0, 1]
    assert box.take() == []
    box.acknowledge(0)
    assert ids(box.take()) == [2]
    assert box.depth == 4


def test_large_payloads_go_out_one_by_one():
    big = b"x" * WINDOW_BYTES
    box = mailbox(*(letter(number, payload=big) for number in range(3)), letter(3))
    assert ids(box.take()) == [0]
    assert box.take() == []
    box.acknowledge(0)
    assert ids(box.take()) == [1]


def test_what_is_acknowledged_is_gone_and_only_once():
    box = mailbox(one := letter(1, payload=b"abc"))
    assert box.bytes == 3 + LETTER_BYTES
    box.take()
    assert box.acknowledge(1) is one
    assert box.acknowledge(1) is None
    assert (box.depth, box.bytes, box.out_bytes) == (0, 0, 0)


def test_what_is_only_queued_cannot_be_acknowledged():
    box = mailbox(letter(1))
    assert box.acknowledge(1) is None
    assert box.depth == 1


def test_after_a_death_what_was_out_goes_out_again_one_at_a_time_before_the_rest():
    box = mailbox(*(letter(number) for number in range(5)), window=3)
    box.take()
    assert box.crashed(charge=True) is None
    order = []
    while letters := box.take():
        order.append(ids(letters))
        for one in letters:
            box.acknowledge(one.id)
    assert order == [[0], [1], [2], [3, 4]]


def test_only_a_single_outstanding_letter_is_charged():
    box = mailbox(*(letter(number) for number in range(3)), window=2)
    box.take()
    assert box.crashed(charge=True) is None
    box.take()
    assert box.crashed(charge=True).id == 0
    box.take()
    assert box.crashed(charge=False) is None
    assert [one.deliveries for one in box.suspects.values()] == [1, 0]


def test_a_suspect_that_was_out_stays_ahead_of_the_others():
    box = mailbox(letter(1), letter(2), window=2)
    box.take()
    box.crashed(charge=False)
    box.take()
    box.crashed(charge=False)
    assert list(box.suspects) == [1, 2]


def test_a_suspect_may_be_acknowledged_by_a_stored_frame_or_removed():
    box = mailbox(letter(1), one := letter(2), letter(3), window=3)
    box.take()
    box.crashed(charge=False)
    assert box.acknowledge(2) is one
    assert box.remove_suspect(3).id == 3
    assert (list(box.suspects), box.bytes) == ([1], LETTER_BYTES)


def test_only_a_queued_letter_can_be_withdrawn():
    box = mailbox(letter(1), letter(2), window=1)
    box.take()
    assert box.withdraw(1) is None
    assert box.withdraw(2).id == 2
    assert box.depth == 1
    assert box.bytes == LETTER_BYTES


def test_the_oldest_queued_letter_makes_room_but_never_one_that_is_out():
    box = mailbox(letter(1), letter(2), window=1)
    box.take()
    assert box.drop_oldest().id == 2
    assert box.drop_oldest() is None
    assert box.depth == 1


def test_full_and_room_are_two_marks_of_messages():
    box = mailbox(*(letter(number) for number in range(9)), size=10, window=20)
    assert not box.is_full
    box.put(letter(9))
    assert box.is_full
    box.take()
    for number in range(4):
        box.acknowledge(number)
    assert not box.is_full
    assert not box.has_room
    box.acknowledge(4)
    assert box.has_room


def test_full_and_room_are_two_marks_of_bytes():
    size = 10 * LETTER_BYTES
    box = mailbox(letter(1, payload=b"x" * (size - LETTER_BYTES)), bytes=Bytes(size))
    assert box.is_full
    assert not box.has_room
    box.take()
    box.acknowledge(1)
    assert box.has_room


def test_emptying_says_which_letters_may_have_run():
    box = mailbox(*(letter(number) for number in range(4)), window=2)
    box.take()
    box.crashed(charge=False)
    box.take()
    assert [(one.id, ran) for one, ran in box.empty()] == [(0, True), (1, True), (2, False), (3, False)]
    assert (box.depth, box.bytes, box.out_bytes) == (0, 0, 0)


def test_the_waiting_time_is_the_mean_of_samples():
    box = Mailbox("a/0", MailboxSpec())
    for number in (16, 32):
        box.put(Letter(TELL, number, "a", "b", "T", b""))
        box.since[number] = number
    box.waited(box.take(), 64)
    assert (box.samples, box.waited_ns) == (2, 40)
    assert box.since == {}


def test_a_sample_that_leaves_otherwise_is_forgotten():
    box = Mailbox("a/0", MailboxSpec())
    box.put(Letter(TELL, 16, "a", "b", "T", b""))
    box.since[16] = 1
    box.empty()
    assert box.since == {}
