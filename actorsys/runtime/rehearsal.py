"""The life of an agent, led ten times in the zygote before any agent is forked from it.

What an agent does for the first time Python writes down in objects that it shares with all others: which version of each bytecode
fits, where a class keeps an attribute, what an attribute of a type is, how a type is decoded. Done before the fork, that costs an
agent neither the time nor an unshared page: 0.25 MiB less, 0.45 with NATS (docs/performance.md).

Nothing of it is left: the loops are closed, and so are their descriptors, but for the pipe that libuv keeps for the signals of all its
loops, and opens anew in each process that is forked. With NATS the server is one of our own that only says yes.

What the modules of the user do when a loop runs nobody knows: so the first to lead such a life is a process that is thrown away.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from multiprocessing.connection import Connection
from typing import cast

from ..mailbox import ref as refs
from ..mailbox.codec import encode
from ..mailbox.letter import ASK, HOST, TELL, Bus, Frame, Letter, Ping, Pong, Ready, Stop
from ..mailbox.pipe import Pipe
from ..messages import Request, class_path
from ..process.procfs import Procfs
from ..spec import Assignment
from . import child
from .agent import Agent
from .handlers import on
from .packing import pack

ROUNDS = 10  # CPython looks for fitting versions of the bytecode at the eighth call of a function; more brought nothing
ROUND_MAX = 1.0  # seconds; one takes 1.5 ms, 4 with NATS
TRIAL_MAX = 2  # seconds, after which the process that tries it is killed
_is_known = _is_off = False
_INFO = (
    b'INFO {"server_id":"","version":"2.10.0","proto":1,"host":"127.0.0.1","port":4222,"headers":true,"max_payload":1048576,'
    b'"client_id":1,"client_ip":"127.0.0.1","auth_required":true}\r\n'
)


class Cue(Request[int]):
    number: int


class Player(Agent):
    @on
    async def cue(self, msg: Cue) -> int:
        return msg.number


def rehearse() -> int:
    """How many lives were led to their end. After the first time one is enough; after one that failed there is none any more."""
    global _is_known, _is_off
    led = 0
    if _is_off or sys.getprofile() or sys.gettrace():  # who watches must not see this, and `pack` watches itself
        return led
    has_nats = "actorsys.bus.nats_client" in sys.modules
    _is_off = True  # until it has ended well
    with suppress(BaseException), _apart():  # who was not rehearsed for is an agent all the same
        if _ends_well(has_nats):
            if not _is_known:
                pack(lambda: _lead(has_nats))
            for _ in range(1 if _is_known else ROUNDS):
                _lead(has_nats)
                led += 1
            _is_known, _is_off = True, False
    return led


def _ends_well(has_nats: bool) -> bool:
    """Whether such a life comes to its end, in time, and leaves no thread; found out in a process of its own."""
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(TRIAL_MAX)
            _lead(has_nats)
            os._exit(Procfs().threads() - 1)
        finally:
            os._exit(1)
    return os.waitpid(pid, 0)[1] == 0


def _lead(has_nats: bool) -> None:
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs, closing(child.open_loop()) as loop:
        server: asyncio.Server | None = None
        address = ""
        try:
            if has_nats:
                # With a socket that is bound: for an address uvloop would start threads, which the agents would inherit as locks.
                server = loop.run_until_complete(loop.create_server(_Yes, sock=socket.create_server(("127.0.0.1", 0))))
                address = "nats://token@{}:{}".format(*server.sockets[0].getsockname())
            loop.run_until_complete(_play(ours, theirs, address))
        finally:
            loop.run_until_complete(_clear(server))
            refs.home = None


async def _play(ours: Connection, theirs: Connection, address: str) -> None:
    assignment = Assignment(
        name="player",
        shown="actorsys",  # no logger of its own
        type=class_path(Player),
        args={},
        incarnation=1,
        run="rehearsal",
        nats={"urls": [address]} if address else None,
    )
    prompter = _Prompter(ours, Bus("connected") if address else Ready())
    try:
        async with asyncio.timeout(ROUND_MAX):
            code = await child.lead(assignment, theirs)
    finally:
        prompter.close()
    if code:
        raise RuntimeError("the life that was rehearsed ended badly")


async def _clear(server: asyncio.Server | None) -> None:
    """End what a life that failed has left."""
    if server is not None:
        server.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)
    if server is not None:
        await server.wait_closed()


class _Prompter:
    """Plays the supervisor: from the note `first` on, each answer is followed by what comes next."""

    def __init__(self, connection: Connection, first: Ready | Bus) -> None:
        path, payload = class_path(Cue), encode(Cue(1))
        self._first = first
        self._script = [
            Frame(letters=[Letter(ASK, 1, "player", HOST, path, payload)]),
            Frame(letters=[Letter(TELL, 2, "player", HOST, path, payload)]),
            Frame(notes=[Ping(1)]),
            Frame(notes=[Stop()]),
        ]
        self._pipe = Pipe(connection, self._frames, lambda error: None)
        self.close = self._pipe.close

    def _frames(self, frames: list[Frame]) -> None:
        for frame in frames:
            if self._script and (frame.acks or self._first in frame.notes or any(isinstance(note, Pong) for note in frame.notes)):
                self._pipe.send(self._script.pop(0))


class _Yes(asyncio.Protocol):
    """A NATS server that takes everything and has nothing to say."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.WriteTransport", transport)
        self._transport.write(_INFO)

    def data_received(self, data: bytes) -> None:
        self._transport.write(b"PONG\r\n" * data.count(b"PING\r\n"))


@contextmanager
def _apart() -> Iterator[None]:
    """What is logged here nobody hears, and what loop there was nobody sees: a policy does not forget that one was set."""
    disabled, policy = logging.root.manager.disable, asyncio.get_event_loop_policy()
    logging.disable(sys.maxsize)
    asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
    try:
        yield
    finally:
        asyncio.set_event_loop_policy(policy)
        logging.disable(disabled)


__before_freeze__ = rehearse  # what the zygote calls each time when it has loaded more
