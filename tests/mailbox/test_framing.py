import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actorsys import BadMessage
from actorsys.mailbox.framing import BUFFER_BYTES, PREFIX, FrameReader


def framed(*bodies):
    return b"".join(PREFIX.pack(len(body)) + body for body in bodies)


def feed(reader, data, sizes):
    """Give the reader the data in pieces of these sizes, as a kernel would; all frames, copied before the next `space`."""
    frames, at = [], 0
    sizes = iter(sizes)
    while at < len(data):
        space = reader.space()
        assert len(space) > 0
        count = min(len(space), len(data) - at, next(sizes, len(data)))
        space[:count] = data[at : at + count]
        frames += [bytes(frame) for frame in reader.received(count)]
        at += count
    return frames


@given(st.lists(st.binary(max_size=300), max_size=10), st.lists(st.integers(1, 400)))
def test_any_chunking_gives_the_same_frames(bodies, sizes):
    assert feed(FrameReader(), framed(*bodies), sizes) == bodies


LENGTHS = st.sampled_from([0, 1, 5, BUFFER_BYTES - 5, BUFFER_BYTES - 4, BUFFER_BYTES - 3, BUFFER_BYTES, 3 * BUFFER_BYTES + 1])
SIZES = st.sampled_from([1, 3, 4, 5, 4096, BUFFER_BYTES - 1, BUFFER_BYTES, 10 * BUFFER_BYTES])


@settings(max_examples=60, deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=6), st.lists(SIZES, max_size=30))
def test_frames_around_and_beyond_the_size_of_the_buffer_come_out_whole(lengths, sizes):
    bodies = [bytes([number + 1]) * length for number, length in enumerate(lengths)]
    assert feed(FrameReader(), framed(*bodies), sizes) == bodies


def test_the_buffer_that_a_long_frame_needed_stays_until_settle_finds_that_none_has_come_since_the_last():
    reader = FrameReader()
    assert reader.settle() is False
    body = b"x" * (4 * BUFFER_BYTES)
    assert feed(reader, framed(body), [100]) == [body]
    assert len(reader.space()) == PREFIX.size + len(body)
    assert reader.settle() is True
    assert len(reader.space()) == PREFIX.size + len(body)
    assert feed(reader, framed(body[: 2 * BUFFER_BYTES]), []) == [body[: 2 * BUFFER_BYTES]]
    assert reader.settle() is True
    assert len(reader.space()) == PREFIX.size + 2 * BUFFER_BYTES
    assert feed(reader, framed(b"short"), []) == [b"short"]
    assert reader.settle() is False
    assert len(reader.space()) == BUFFER_BYTES


@settings(max_examples=40, deadline=None)
@given(st.lists(LENGTHS, min_size=1, max_size=6), st.lists(st.tuples(SIZES, st.booleans()), max_size=30))
def test_settle_takes_nothing_of_a_frame_that_is_not_whole_yet(lengths, pieces):
    class Settling(FrameReader):
        def space(self):
            if next(settles, False):
                self.settle()
            return super().space()

    settles = iter([settle for _, settle in pieces])
    bodies = [bytes([number + 1]) * length for number, length in enumerate(lengths)]
    assert feed(Settling(), framed(*bodies), [size for size, _ in pieces]) == bodies


def test_the_start_of_a_frame_is_moved_to_the_front_even_over_itself():
    reader = FrameReader()
    first, second = b"x" * 100, (bytes(range(256)) * (BUFFER_BYTES // 256))[:-50]
    data = framed(first, second)
    assert feed(reader, data[:BUFFER_BYTES], []) == [first]
    assert feed(reader, data[BUFFER_BYTES:], []) == [second]


def test_a_frame_stays_valid_until_the_next_space():
    reader = FrameReader()
    data = framed(b"one", b"two", b"cut off"[:3])
    reader.space()[: len(data)] = data
    first, second, third = reader.received(len(data))
    assert (bytes(first), bytes(second), bytes(third)) == (b"one", b"two", b"cut")


def test_a_frame_that_would_not_fit_behind_the_last_is_moved_to_the_front():
    reader = FrameReader()
    big = b"x" * (BUFFER_BYTES - 100)
    data = framed(big) + framed(b"y" * 200)[:50]
    assert feed(reader, data, []) == [big]
    assert feed(reader, framed(b"y" * 200)[50:], []) == [b"y" * 200]


def test_a_prefix_cut_by_the_end_of_the_buffer_is_completed():
    reader = FrameReader()
    big = b"x" * (BUFFER_BYTES - PREFIX.size - 2)
    data = framed(big) + framed(b"end")[:2]
    assert len(data) == BUFFER_BYTES
    assert feed(reader, data, []) == [big]
    assert feed(reader, framed(b"end")[2:], []) == [b"end"]


@pytest.mark.parametrize("length", [11, 2**32 - 1])
def test_a_length_above_the_limit_is_a_bad_message_before_anything_is_allocated(length):
    reader = FrameReader(limit=10)
    assert feed(reader, framed(b"0123456789"), []) == [b"0123456789"]
    reader.space()[:4] = PREFIX.pack(length)
    with pytest.raises(BadMessage, match=f"a frame of {length} bytes; at most 10 are allowed") as caught:
        reader.received(4)
    assert caught.value.field == "length"
