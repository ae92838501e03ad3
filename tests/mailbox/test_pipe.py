"""The framed connection over a real socket pair, on both event loops."""

import asyncio
import multiprocessing
import os

import pytest
import uvloop

from actorsys import BadMessage
from actorsys.mailbox import pipe
from actorsys.mailbox.codec import decode_frame
from actorsys.mailbox.framing import PREFIX
from actorsys.mailbox.letter import TELL, Frame, Letter
from actorsys.mailbox.pipe import OUTGOING_BYTES, Pipe
from actorsys.testing.waiting import eventually


class End:
    """One end, and what came in at it."""

    def __init__(self, connection, **options):
        self.frames = []
        self.ends = []
        self.connection = connection
        self.pipe = Pipe(connection, self.frames.extend, self.ends.append, **options)


@pytest.fixture(params=[None, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def check(request):
    """Run a test body with two connections."""

    async def guarded(body):
        one, two = multiprocessing.Pipe()
        try:
            async with asyncio.timeout(30):
                await body(one, two)
        finally:
            for connection in (one, two):
                if not connection.closed:
                    connection.close()

    def checker(body):
        with asyncio.Runner(loop_factory=request.param) as loop:
            loop.run(guarded(body))

    return checker


def big(size):
    return Frame(letters=[Letter(TELL, 1, "a", "b", "T", bytes(size))])


def test_frames_arrive_in_order_in_both_directions(check):
    async def body(one, two):
        here, there = End(one), End(two)
        sent = [Frame([number]) for number in range(100)]
        for frame in sent:
            here.pipe.send(frame)
            there.pipe.send(frame)
        await eventually(lambda: len(here.frames) == len(there.frames) == 100)
        assert here.frames == there.frames == sent
        here.pipe.close()
        there.pipe.close()

    check(body)


def test_a_frame_larger_than_every_buffer_arrives_whole(check):
    async def body(one, two):
        here, there = End(one), End(two)
        frame = big(5 * 2**20)
        here.pipe.send(frame)
        here.pipe.send(Frame([1]))
        assert here.pipe.is_clogged
        await eventually(lambda: len(there.frames) == 2)
        assert there.frames == [frame, Frame([1])]
        assert (here.pipe.outgoing_bytes, here.pipe.is_clogged) == (0, False)
        here.pipe.close()
        there.pipe.close()

    check(body)


def test_memory_for_large_frames_is_kept_while_they_come_and_closing_forgets_it(check, monkeypatch):
    monkeypatch.setattr(pipe, "SETTLE", 0.02)

    async def body(one, two):
        told = []
        monkeypatch.setattr(pipe, "keep_freed", told.append)
        here, there = End(one), End(two)
        for number in range(2):
            here.pipe.send(big(2**20))
            await eventually(lambda count=number + 1: len(there.frames) == count)
        assert told == [True]
        await eventually(lambda: told == [True, False])
        here.pipe.send(big(2**20))
        await eventually(lambda: len(there.frames) == 3)
        assert there.frames == [big(2**20)] * 3
        assert told == [True, False, True]
        there.pipe.close()
        assert told == [True, False, True, False]
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(3 * pipe.SETTLE, turned.set_result, None)
        await turned
        assert told == [True, False, True, False]
        here.pipe.close()

    check(body)


def test_who_waits_for_room_goes_on_when_half_of_it_is_there(check):
    async def body(one, two):
        here = End(one)
        await here.pipe.wait_room()
        here.pipe.send(big(4 * OUTGOING_BYTES))
        waits = [asyncio.ensure_future(here.pipe.wait_room()) for _ in range(2)]
        await asyncio.sleep(0)
        assert not any(wait.done() for wait in waits)
        there = End(two)
        await asyncio.gather(*waits)
        assert here.pipe.outgoing_bytes <= OUTGOING_BYTES // 2
        await eventually(lambda: there.frames)
        here.pipe.close()
        there.pipe.close()

    check(body)


@pytest.mark.parametrize("who", ["peer", "self"])
def test_who_waits_for_room_goes_on_when_the_connection_ends(check, who):
    async def body(one, two):
        here = End(one)
        here.pipe.send(big(4 * OUTGOING_BYTES))
        wait = asyncio.ensure_future(here.pipe.wait_room())
        await asyncio.sleep(0)
        two.close() if who == "peer" else here.pipe.close()
        await wait
        here.pipe.close()

    check(body)


def test_the_end_of_the_peer_is_told_once_and_sending_to_it_is_no_error(check):
    async def body(one, two):
        here, there = End(one), End(two)
        there.pipe.send(Frame([1]))
        there.pipe.close()
        await eventually(lambda: here.ends)
        assert (here.frames, here.ends) == ([Frame([1])], [None])
        here.pipe.send(Frame([2]))
        here.pipe.read_rest()
        assert here.ends == [None]
        here.pipe.close()

    check(body)


def test_what_a_dead_peer_left_is_read_to_the_end(check):
    async def body(one, two):
        here, there = End(one), End(two)
        sent = [*(Frame([number]) for number in range(50)), big(50_000)]
        for frame in sent:
            there.pipe.send(frame)
        there.pipe.close()
        here.pipe.read_rest()
        assert (here.frames, here.ends) == (sent, [None])
        here.pipe.close()

    check(body)


def test_a_frame_cut_by_the_death_of_its_sender_is_no_frame(check):
    async def body(one, two):
        here = End(one)
        os.write(two.fileno(), PREFIX.pack(100) + b"half")
        two.close()
        here.pipe.read_rest()
        assert (here.frames, here.ends) == ([], [None])
        here.pipe.close()

    check(body)


@pytest.mark.parametrize("data", [PREFIX.pack(3) + b"\xc1\xc1\xc1", PREFIX.pack(2**31) + b"x", PREFIX.pack(0)])
def test_bytes_that_are_no_frame_end_it_with_a_bad_message(check, data):
    async def body(one, two):
        here = End(one)
        os.write(two.fileno(), data)
        await eventually(lambda: here.ends)
        assert isinstance(here.ends[0], BadMessage)
        assert here.frames == []
        here.pipe.close()

    check(body)


def test_the_last_words_are_written_even_when_the_socket_is_full(check):
    async def body(one, two):
        here, frame = End(one), big(3 * 2**20)
        here.pipe.send(frame)
        here.pipe.send(Frame([1]))
        assert here.pipe.is_clogged
        reading = asyncio.get_running_loop().run_in_executor(None, read_all, two)
        here.pipe.write_rest()  # blocks this loop until the thread has read
        here.pipe.close()
        assert await reading == [frame, Frame([1])]

    def read_all(connection):
        data, frames = b"".join(iter(lambda: os.read(connection.fileno(), 2**20), b"")), []
        while data:
            (length,) = PREFIX.unpack_from(data)
            frames.append(decode_frame(data[PREFIX.size : PREFIX.size + length]))
            data = data[PREFIX.size + length :]
        return frames

    check(body)


def test_closing_twice_is_no_error_and_a_closed_one_sends_nothing(check):
    async def body(one, two):
        here = End(one)
        here.pipe.close()
        here.pipe.close()
        here.pipe.send(Frame([1]))
        here.pipe.write_rest()
        here.pipe.read_rest()
        assert one.closed
        assert two.poll(1)
        with pytest.raises(EOFError):
            two.recv_bytes()

    check(body)
