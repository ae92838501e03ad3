"""Frames arrive whole, in order and with their descriptors, whatever their size."""

import os
import select
import threading

import pytest

from actorsys.process.wire import Closed, Wire, pair


def wait(wire):
    """The frames that come next; raises Closed."""
    assert select.select([wire], [], [], 5)[0]
    return wire.receive()


@pytest.fixture
def ends():
    here, there = map(Wire, pair())
    yield here, there
    here.close()
    there.close()


def test_a_frame_larger_than_the_socket_waits_here_and_arrives_whole(ends) -> None:
    here, there = ends
    blob = os.urandom(5_000_000)
    here.send({"n": 1}, blob)
    here.send({"n": 2, "text": "\udcff"})
    assert here.is_waiting
    sender = threading.Thread(target=lambda: [here.flush() for _ in iter(lambda: here.is_waiting, False)])
    sender.start()
    frames = []
    while len(frames) < 2:
        frames += wait(there)
    sender.join()
    assert [frame.header for frame in frames] == [{"n": 1}, {"n": 2, "text": "\udcff"}]
    assert frames[0].blob == blob


def test_descriptors_come_with_their_frame_and_are_closed_here(ends) -> None:
    here, there = ends
    for n in range(3):
        reads, writes = os.pipe()
        os.write(writes, str(n).encode())
        os.close(writes)
        here.send({"n": n}, b"", [reads] if n != 1 else [])
        if n == 1:
            os.close(reads)
    frames = []
    while len(frames) < 3:
        frames += wait(there)
    assert [len(frame.fds) for frame in frames] == [1, 0, 1]
    for frame in frames:
        for fd in frame.fds:
            assert os.read(fd, 9).decode() == str(frame.header["n"])
            assert not os.get_inheritable(fd)
            os.close(fd)


def test_the_end_of_the_other_side_is_told(ends) -> None:
    here, there = ends
    assert here.receive() == []
    there.close()
    with pytest.raises(Closed):
        wait(here)
    reads, writes = os.pipe()
    with pytest.raises(Closed):
        here.send({}, b"", [reads, writes])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(reads)
