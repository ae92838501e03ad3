"""The short way from the socket to a subscription brings what nats-py's own way brings, in the same order, however the bytes are cut."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.subscription import Subscription

from actorsys.bus.base import Incoming
from actorsys.bus.nats_client import Connection, Sink
from actorsys.bus.nats_reading import shorten

SUBJECTS = ["a", "agents.request.echo", "_INBOX.x.1"]


def said(sid: int, subject: str, reply: str, payload: bytes, headers: bool) -> bytes:
    """What a server sends."""
    to = f"{subject} {sid} {reply} ".replace("  ", " ")
    if not headers:
        return f"MSG {to}{len(payload)}\r\n".encode() + payload + b"\r\n"
    head = b"NATS/1.0\r\nKey: value\r\n\r\n"
    return f"HMSG {to}{len(head)} {len(head) + len(payload)}\r\n".encode() + head + payload + b"\r\n"


messages = st.builds(
    said,
    st.integers(1, 3),  # 3: nobody has subscribed so
    st.sampled_from(SUBJECTS),
    st.sampled_from(["", "_INBOX.y.7"]),
    st.one_of(st.binary(max_size=40), st.sampled_from([b"", b"\r\n", b"PONG\r\n", b"MSG a 1 3\r\nabc\r\n", b"x" * 5000])),
    st.booleans(),
)
lines = st.one_of(messages, st.sampled_from([b"PONG\r\n", b"+OK\r\n", b"MSG a 1 1\r\n\xff\r\n", b"MSG \xff 1 1\r\nx\r\n"]))


class Socket:
    """As much of a transport as the reading task looks at."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()
        self.read = self.reader.read
        self.at_eof = self.reader.at_eof


async def heard(chunks: list[bytes], *, is_short: bool) -> list[Any]:
    """What arrives of them, in order; pings that are answered count, too."""
    found: list[Any] = []
    client = Connection(lambda: None, lambda subject, error: found.append((subject, type(error).__name__)))
    socket: Any = Socket()
    client._transport = socket
    for sid in (1, 2):
        sink: Any = Sink(lambda incoming, sid=sid: found.append((sid, incoming)))  # type: ignore[misc]
        client._subs[sid] = Subscription(client, sid, future=sink)
    for number in range(9):
        client._pongs.append(pong := asyncio.get_running_loop().create_future())
        pong.add_done_callback(lambda _, number=number: found.append(number))  # type: ignore[misc]
    reading = asyncio.create_task(client._read_loop())
    await asyncio.sleep(0)
    if is_short:
        shorten(socket.reader, client, client._ps)
    for chunk in chunks:
        socket.reader.feed_data(chunk)
        for _ in range(3):
            await asyncio.sleep(0)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    return found


@given(st.lists(lines, max_size=8), st.lists(st.integers(0, 6000), max_size=6))
def test_whatever_a_server_says_arrives_alike_on_both_ways(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    chunks = [data[begin:end] for begin, end in pairwise(at) if end > begin]

    async def both() -> tuple[list[Any], list[Any]]:
        return await heard(chunks, is_short=True), await heard(chunks, is_short=False)

    short, long = asyncio.run(both())
    assert [each for each in short if not isinstance(each, int)] == [each for each in long if not isinstance(each, int)]
    assert [each for each in short if isinstance(each, int)] == [each for each in long if isinstance(each, int)]


def test_a_whole_message_is_there_as_soon_as_its_bytes_are() -> None:
    async def main() -> None:
        found: list[Incoming] = []
        client = Connection(lambda: None, lambda subject, error: None)
        socket: Any = Socket()
        client._transport = socket
        sink: Any = Sink(found.append)
        client._subs[1] = Subscription(client, 1, future=sink)
        shorten(socket.reader, client, client._ps)
        reading = asyncio.create_task(client._read_loop())
        await asyncio.sleep(0)
        socket.reader.feed_data(b"MSG a 1 b 2\r\nhi\r\nMSG a 1 2\r\nhi\r\nMSG a 1 2\r\n")
        assert found == [Incoming("a", b"hi", "b"), Incoming("a", b"hi")]
        assert client.stats["in_msgs"] == 2
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)

    asyncio.run(main())


ODD = [
    *(b"MSG a 1\r\n", b"MSG a x 1\r\n", b"MSG a 1 -1\r\n", b"MSG a 1 b c 1\r\n", b"NONSENSE\r\n"),
    *(b"MSG a 1 " + b"1" * 5000 + b"\r\n", b"MSG a " + b"1" * 5000 + b" 0\r\n\r\n"),  # more digits than Python reads
    *(b"MSG  1 0\r\n\r\n", b"MSG a  1 0\r\n\r\n", b"MSG a 1  0\r\n\r\n", b"MSG a 1 0 \r\n\r\n"),
    *(b"MSG a\t1 1 0\r\n\r\n", b"MSG a 1 b\t\x01 0\r\n\r\n", b"MSG a\rb 1 0\r\n\r\n", b"MSG a\x0b 1 0\r\n\r\n"),
]


@pytest.mark.parametrize("line", ODD)
def test_what_servers_do_not_write_is_left_to_nats_py(line: bytes) -> None:
    async def main() -> None:
        client = Connection(lambda: None, lambda subject, error: None)
        sink: Any = Sink(lambda incoming: None)
        client._subs[1] = Subscription(client, 1, future=sink)
        kept: list[bytes] = []
        reader: Any = asyncio.StreamReader()
        reader._waiter = asyncio.get_running_loop().create_future()
        reader.feed_data = kept.append
        shorten(reader, client, client._ps)
        reader.feed_data(line)
        assert kept == [line]

    asyncio.run(main())
