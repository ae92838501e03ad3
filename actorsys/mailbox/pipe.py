"""The framed connection between supervisor and agent, driven by an event loop's readiness callbacks.

Readiness callbacks instead of a transport: the same latency (benchmarks/floors.py), but the kernel reads straight into our buffer, a
write tells at once whether it fit, and what a dead peer left behind can be read to the end in one call.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from mmap import MAP_PRIVATE, mmap
from multiprocessing.connection import Connection

from ..errors import BadMessage
from ..process.kernel import keep_freed
from .codec import decode_frame, encode_frame
from .framing import BUFFER_BYTES, MAX_FRAME_BYTES, PREFIX, FrameReader
from .letter import Frame

OUTGOING_BYTES = 2**20  # queued beyond what the socket takes; above it `is_clogged`
SETTLE = 1.0  # seconds between two looks at what large frames need; once no more come it is held twice as long at most


class Pipe:
    """Calls `on_frames` with each batch read and `on_end` once: None at end of file, BadMessage for bytes that are no frame."""

    def __init__(
        self,
        connection: Connection,
        on_frames: Callable[[list[Frame]], None],
        on_end: Callable[[BadMessage | None], None],
        limit: int = MAX_FRAME_BYTES,
    ) -> None:
        self._connection = connection
        self._fd = connection.fileno()
        os.set_blocking(self._fd, False)
        self._on_frames = on_frames
        self._on_end = on_end
        self._settling: asyncio.TimerHandle | None = None  # while more memory is kept than small frames need
        self._reader = FrameReader(limit, self._memory)
        self._outgoing: deque[memoryview] = deque()
        self.outgoing_bytes = 0
        self._room: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._has_ended = False  # nothing more to read
        self._loop.add_reader(self._fd, self._read)

    @property
    def is_clogged(self) -> bool:
        return self.outgoing_bytes > OUTGOING_BYTES

    def send(self, frame: Frame) -> None:
        """Write a frame now, or queue what the socket does not take. After the end it is dropped: custody redelivers."""
        buffer = bytearray(PREFIX.size)
        encode_frame(frame, buffer, PREFIX.size)
        PREFIX.pack_into(buffer, 0, len(buffer) - PREFIX.size)
        self.send_bytes(buffer)

    def send_bytes(self, data: bytes | bytearray) -> None:
        """Write a frame that is encoded already, prefix included."""
        if not self._is_open:
            return
        view = memoryview(data)
        if not self._outgoing:
            try:
                sent = os.write(self._fd, view)
            except BlockingIOError:
                sent = 0
            except OSError:  # the peer is gone; reading tells the rest
                return
            if sent == len(view):
                return
            view = view[sent:]
            self._loop.add_writer(self._fd, self._writable)
        self._outgoing.append(view)
        self.outgoing_bytes += len(view)

    async def wait_room(self, most: int = OUTGOING_BYTES // 2) -> None:
        """Return when no more than `most` bytes are queued, by default half the bound, or the peer has gone."""
        while self._is_open and self.outgoing_bytes > most:
            if self._room is None:
                self._room = self._loop.create_future()
            await asyncio.shield(self._room)

    def read_rest(self) -> None:
        """Read all that the peer wrote before it ended; for use once its process is gone."""
        while self._is_open and not self._has_ended and self._read():
            pass

    def write_rest(self) -> None:
        """Write what is queued, waiting for the socket: the last words of a process."""
        if self._is_open and self._outgoing:
            os.set_blocking(self._fd, True)
            while self._outgoing:  # even a blocking write may take only a part
                self._writable()

    def close(self) -> None:
        """Stop and close the descriptor; idempotent."""
        if not self._is_open:
            return
        self._is_open = False
        if self._settling is not None:
            self._settling.cancel()
            keep_freed(False)
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._outgoing.clear()
        self.outgoing_bytes = 0
        self._wake()
        self._connection.close()

    def _memory(self, size: int) -> memoryview:
        """Memory that costs nothing until it is used: an agent that gets small messages touches one page of its 256 KiB."""
        if size > BUFFER_BYTES and self._settling is None:
            self._settling = self._loop.call_later(SETTLE, self._settle)
            keep_freed(True)
        return memoryview(mmap(-1, size, MAP_PRIVATE))

    def _settle(self) -> None:
        if self._reader.settle():
            self._settling = self._loop.call_later(SETTLE, self._settle)
        else:
            self._settling = None
            keep_freed(False)

    def _read(self) -> bool:
        """One read; whether there may be more."""
        try:
            count = os.readv(self._fd, (self._reader.space(),))
        except BlockingIOError:
            return False
        except OSError:
            count = 0
        if not count:
            self._end(None)
            return False
        try:
            frames = [decode_frame(data) for data in self._reader.received(count)]
        except BadMessage as error:
            self._end(error)
            return False
        if frames:
            self._on_frames(frames)
        return True

    def _end(self, error: BadMessage | None) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._loop.remove_reader(self._fd)
            self._on_end(error)

    def _writable(self) -> None:
        while self._outgoing:
            view = self._outgoing[0]
            try:
                sent = os.write(self._fd, view)
            except BlockingIOError:
                return
            except OSError:
                self._outgoing.clear()
                self.outgoing_bytes = 0
                break
            self.outgoing_bytes -= sent
            if sent < len(view):
                self._outgoing[0] = view[sent:]
                if self.outgoing_bytes <= OUTGOING_BYTES // 2:
                    self._wake()
                return
            self._outgoing.popleft()
        self._loop.remove_writer(self._fd)
        self._wake()

    def _wake(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)
        self._room = None
