"""The zygote and its forks take turns at one socket: each reads a frame, and leaves the next to the other."""

import os
import threading

import pytest

from actorsys.process.line import Line
from actorsys.process.wire import Closed, Wire, pair


@pytest.fixture
def ends():
    near, far = pair()
    line, wire = Line(far), Wire(near)
    yield line, wire, far
    wire.close()
    far.close()


def test_a_frame_is_read_and_nothing_behind_it(ends) -> None:
    line, wire, far = ends
    wire.send({"n": 1}, b"one")
    wire.send({"n": 2}, b"")
    wire.send({"n": 3}, b"three")
    assert line.take() == ({"n": 1}, b"one", [])
    forked = os.fork()
    if forked == 0:
        os._exit(0 if line.take()[0] == {"n": 2} else 1)
    assert os.waitpid(forked, 0)[1] == 0
    assert Line(far).take() == ({"n": 3}, b"three", [])


def test_how_many_descriptors_come_is_known_before_and_they_come_with_their_frame(ends) -> None:
    line, wire, _ = ends
    reads, writes = os.pipe()
    wire.send({"n": 1})
    wire.send({"n": 2}, b"blob", [reads, writes])
    assert [line.peek(), line.peek()] == [0, 0]
    assert line.take()[2] == []
    assert [line.peek(), line.peek()] == [2, 2]
    header, blob, fds = line.take()
    assert (header, blob) == ({"n": 2}, b"blob")
    os.write(fds[1], b"through")
    assert os.read(fds[0], 9) == b"through"
    for fd in fds:
        assert not os.get_inheritable(fd)
        os.close(fd)


def test_a_frame_larger_than_the_socket_is_waited_for(ends) -> None:
    line, wire, _ = ends
    blob = os.urandom(5_000_000)
    wire.send({"n": 1}, blob)
    assert wire.is_waiting
    sender = threading.Thread(target=lambda: [wire.flush() for _ in iter(lambda: wire.is_waiting, False)])
    sender.start()
    assert line.take() == ({"n": 1}, blob, [])
    sender.join()


def test_text_that_is_not_utf_8_is_read_too(ends) -> None:
    line, wire, _ = ends
    wire.send({"n": 1, "env": {"DATA": "\udcff"}}, b"blob")
    assert line.take() == ({"n": 1, "env": {"DATA": "\udcff"}}, b"blob", [])


def test_what_it_sends_arrives_as_a_frame(ends) -> None:
    line, wire, _ = ends
    line.send({"pid": 7, "text": "\udcff"})
    (frame,) = wire.receive()
    assert frame.header == {"pid": 7, "text": "\udcff"}


def test_the_end_of_the_other_side_is_told(ends) -> None:
    line, wire, _ = ends
    wire.close()
    with pytest.raises(Closed):
        line.peek()
    with pytest.raises(Closed):
        line.take()
    with pytest.raises(Closed):
        line.send({})
