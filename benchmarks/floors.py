"""The floor under every local message: raw bytes between processes of this machine, without any framework.

    python benchmarks/floors.py [NAME ...] [--rounds N]

pair   a round trip between two processes over one socket pair, blocking reads and writes
loop   the same with an event loop (uvloop where installed) at both ends
relay  the same through a third process that only copies bytes: what any hub has to pay
codec  messages a second that one process encodes and decodes as typed msgspec payloads, nothing else
frames messages a second from one agent to another with our own runtime, pipe and codec: the process in the middle decodes each frame
       and encodes it again, and keeps nothing in custody
fan8   from one process to 8 others with an event loop each, until all 8 have answered; fan64 likewise
bulk1m 1 MiB to another process and back, blocking, into one buffer; bulk64k likewise with 64 KiB
fork   from fork() to the first byte of the new process, which is then reaped
idle   memory (PSS) of a process forked from one that has imported what an agent needs, and that only waits

Prints one JSON document: medians of microseconds per round trip, messages a second, MiB a second, milliseconds per fork, MiB.
"""

import argparse
import asyncio
import gc
import json
import os
import socket
import statistics
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import msgspec

try:
    import uvloop
except ImportError:
    uvloop = None  # type: ignore[assignment]

T = TypeVar("T")

ROUNDS = 8000
DATA = b"x" * 160
READ_BYTES = 65536
CODEC_MESSAGES = 50_000
FORKS = 30


def pair(rounds: int = ROUNDS) -> float:
    """Microseconds; the median, as in all that follow."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        fd = theirs.fileno()
        while data := os.read(fd, READ_BYTES):
            os.write(fd, data)
        os._exit(0)
    theirs.close()
    fd, seconds = ours.fileno(), []
    for _ in range(rounds):
        start = time.perf_counter()
        os.write(fd, DATA)
        os.read(fd, READ_BYTES)
        seconds.append(time.perf_counter() - start)
    ours.close()
    os.waitpid(pid, 0)
    return _microseconds(seconds)


def loop(rounds: int = ROUNDS) -> float:
    ours, theirs = socket.socketpair()
    child = _forked(_echo, keep=[theirs], close=[ours])
    theirs.close()
    result = _run(_drive(ours, rounds))
    os.waitpid(child, 0)
    return result


def relay(rounds: int = ROUNDS) -> float:
    ours, left = socket.socketpair()
    right, theirs = socket.socketpair()
    children = [
        _forked(_echo, keep=[theirs], close=[ours, left, right]),
        _forked(_hub, keep=[left, right], close=[ours, theirs]),
    ]
    for sock in (left, right, theirs):
        sock.close()
    result = _run(_drive(ours, rounds))
    for child in children:
        os.waitpid(child, 0)
    return result


class Job(msgspec.Struct):
    """160 bytes as msgpack, like the messages of agents.py."""

    id: int
    task: str
    tags: list[str]
    body: str


def codec(messages: int = CODEC_MESSAGES) -> float:
    """Messages a second, the best of three: the floor is what the machine can do."""
    encode, decode = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Job).decode
    body, best = "x" * 118, 0.0
    for _ in range(3):
        start = time.perf_counter()
        for number in range(messages):
            decode(encode(Job(number, "process", ["a", "b"], body)))
        best = max(best, messages / (time.perf_counter() - start))
    return round(best)


def frames(messages: int = CODEC_MESSAGES) -> float:
    """Messages a second, counted where they arrive."""
    from floor_frames import frames  # it loads the package, which the other floors do without

    return frames(messages)


def fan(receivers: int, rounds: int = ROUNDS // 8) -> float:
    """Microseconds; the median."""
    ends, children = [], []
    for _ in range(receivers):
        ours, theirs = socket.socketpair()
        children.append(_forked(_echo, keep=[theirs], close=[ours, *ends]))
        theirs.close()
        ends.append(ours)
    result = _run(_drive_all(ends, rounds))
    for child in children:
        os.waitpid(child, 0)
    return result


def bulk(length: int, rounds: int = ROUNDS // 40) -> float:
    """MiB a second, each round trip counted once."""
    ours, theirs = socket.socketpair()
    data, buffer = bytes(length), memoryview(bytearray(length))

    def filled(sock: socket.socket) -> bool:
        got = 0
        while got < length and (read := sock.recv_into(buffer[got:])):
            got += read
        return got == length

    pid = os.fork()
    if pid == 0:
        ours.close()
        while filled(theirs):
            theirs.sendall(buffer)
        os._exit(0)
    theirs.close()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        ours.sendall(data)
        filled(ours)
        seconds.append(time.perf_counter() - start)
    ours.close()
    os.waitpid(pid, 0)
    return round(length / 2**20 / statistics.median(seconds), 1)


def idle(processes: int = FORKS) -> float:
    """MiB each."""
    from measure import pss  # these two load the package, which the other floors do without

    from actorsys.runtime import child  # noqa: F401

    gc.freeze()
    waiting, end = os.pipe()
    pids = []
    for _ in range(processes):
        pid = os.fork()
        if pid == 0:
            os.close(end)
            os.read(waiting, 1)
            os._exit(0)
        pids.append(pid)
    weights = [pss(pid) for pid in pids]
    os.close(end)
    for pid in pids:
        os.waitpid(pid, 0)
    return round(statistics.mean(weights), 3)


def fork(forks: int = FORKS) -> float:
    """Milliseconds."""
    seconds = []
    for _ in range(forks):
        ours, theirs = os.pipe()
        start = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os.write(theirs, b"x")
            os._exit(0)
        os.read(ours, 1)
        seconds.append(time.perf_counter() - start)
        os.waitpid(pid, 0)
        os.close(ours)
        os.close(theirs)
    return round(statistics.median(seconds) * 1e3, 3)


class _Copy(asyncio.Protocol):
    """Writes what it reads to `to`; to where it came from if nothing else is said."""

    transport: asyncio.Transport

    def __init__(self, closed: asyncio.Future[None] | None = None) -> None:
        self.to = self
        self._closed = closed

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # a socket pair is a full transport

    def data_received(self, data: bytes) -> None:
        self.to.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)


class _Client(asyncio.Protocol):
    transport: asyncio.Transport
    reply: asyncio.Future[bytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # see _Copy

    def data_received(self, data: bytes) -> None:
        self.reply.set_result(data)


P = TypeVar("P", bound=asyncio.Protocol)


async def _attach(protocol: P, sock: socket.socket) -> P:
    sock.setblocking(False)
    await asyncio.get_running_loop().create_unix_connection(lambda: protocol, sock=sock)
    return protocol


async def _drive(sock: socket.socket, rounds: int) -> float:
    running, seconds = asyncio.get_running_loop(), []
    client = await _attach(_Client(), sock)
    for _ in range(rounds):
        client.reply = running.create_future()
        start = time.perf_counter()
        client.transport.write(DATA)
        await client.reply
        seconds.append(time.perf_counter() - start)
    client.transport.close()
    await asyncio.sleep(0)  # the transport closes its socket on the next turn
    return _microseconds(seconds)


async def _drive_all(socks: Sequence[socket.socket], rounds: int) -> float:
    running, seconds = asyncio.get_running_loop(), []
    clients = [await _attach(_Client(), sock) for sock in socks]
    for _ in range(rounds):
        start = time.perf_counter()
        for client in clients:
            client.reply = running.create_future()
            client.transport.write(DATA)
        for client in clients:
            await client.reply
        seconds.append(time.perf_counter() - start)
    for client in clients:
        client.transport.close()
    await asyncio.sleep(0)  # as in _drive
    return _microseconds(seconds)


async def _echo(sock: socket.socket) -> None:
    closed = asyncio.get_running_loop().create_future()
    await _attach(_Copy(closed), sock)
    await closed


async def _hub(left: socket.socket, right: socket.socket) -> None:
    closed = asyncio.get_running_loop().create_future()
    one, two = await _attach(_Copy(closed), left), await _attach(_Copy(), right)
    one.to, two.to = two, one
    await closed


def _forked(main: Callable[..., Coroutine[Any, Any, None]], keep: Sequence[socket.socket], close: Sequence[socket.socket]) -> int:
    pid = os.fork()
    if pid == 0:
        for sock in close:  # or the end of file never comes
            sock.close()
        _run(main(*keep))
        os._exit(0)
    return pid


def _run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        return runner.run(main)


def _microseconds(seconds: list[float]) -> float:
    return round(statistics.median(seconds) * 1e6, 1)


FLOORS: dict[str, tuple[str, Callable[..., float]]] = {
    "pair": ("us", pair),
    "loop": ("us", loop),
    "relay": ("us", relay),
    "codec": ("per_s", codec),
    "frames": ("per_s", frames),
    "fan8": ("us", partial(fan, 8)),
    "fan64": ("us", partial(fan, 64)),
    "bulk64k": ("mib_per_s", partial(bulk, 2**16)),
    "bulk1m": ("mib_per_s", partial(bulk, 2**20)),
    "fork": ("ms", fork),
    "idle": ("mib", idle),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="The floor under every local message on this machine, as one JSON document.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(FLOORS)}; default: all")
    parser.add_argument("--rounds", type=int, help="how many round trips, messages or forks to time")
    options = parser.parse_args()
    if unknown := set(options.names) - set(FLOORS):
        parser.error(f"no floor is named {', '.join(sorted(unknown))}; there are {', '.join(FLOORS)}")
    arguments = () if options.rounds is None else (options.rounds,)
    print(
        json.dumps(
            {
                f"{name}_{unit}": run(*arguments)
                for name, (unit, run) in FLOORS.items()
                if name in options.names or not options.names
            }
        )
    )


if __name__ == "__main__":
    main()
