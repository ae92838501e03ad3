"""Length-prefixed frames out of a byte stream.

The reader owns one buffer that the kernel writes into, so that a payload is copied once, by whoever decodes it. A frame longer than
the buffer gets a longer one, which stays for the next: to find and clear fresh pages takes the kernel longer than to fill them.
"""

import struct
from collections.abc import Callable

from ..errors import BadMessage

PREFIX = struct.Struct("<I")
MAX_FRAME_BYTES = (
    48 * 2**20
)  # a frame leaves when it has 16 MiB of payloads; the letter and the answer that pass that may have 16 each
BUFFER_BYTES = 256 * 1024  # above this, a larger read is no faster (benchmarks/bench_large.py)


def _allocate(size: int) -> memoryview:
    return memoryview(bytearray(size))


class FrameReader:
    """Feed it through `space` and `received`; it gives back whole frames, each valid until the next `space`.

    What long frames have made it grow by stays until `settle`.

    >>> reader = FrameReader()
    >>> reader.space()[:9] = PREFIX.pack(3) + b"abc" + b"\\x02\\x00"
    >>> [bytes(frame) for frame in reader.received(9)]
    [b'abc']
    """

    def __init__(self, limit: int = MAX_FRAME_BYTES, allocate: Callable[[int], memoryview] = _allocate) -> None:
        self._limit = limit
        self._allocate = allocate
        self._buffer = allocate(BUFFER_BYTES)
        self._start = 0  # of the first byte not yet given back
        self._end = 0  # of what was received
        self._longest = 0  # frame since the last `settle`

    def space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        pending = self._end - self._start
        if not pending:
            self._start = self._end = 0
            return self._buffer
        if self._start:
            wanted = self._wanted(pending)
            if wanted > len(self._buffer):
                self._move(wanted)
            elif self._end == len(self._buffer) or self._start + wanted > len(self._buffer):
                self._buffer[:pending] = self._buffer[self._start : self._end]
                self._start, self._end = 0, pending
        elif pending >= PREFIX.size and (wanted := self._wanted(pending)) > len(self._buffer):
            self._move(wanted)
        return self._buffer[self._end :]

    def received(self, count: int) -> list[memoryview]:
        """Take `count` bytes just written to `space`. Raises BadMessage for a length above the limit."""
        self._end = end = self._end + count
        buffer, start, frames = self._buffer, self._start, []
        while end - start >= PREFIX.size:
            (length,) = PREFIX.unpack_from(buffer, start)
            if length > self._limit:
                raise BadMessage(f"a frame of {length} bytes; at most {self._limit} are allowed", field="length")
            start += PREFIX.size
            if start + length > end:
                break
            frames.append(buffer[start : start + length])
            self._start = start = start + length
            if length > self._longest:
                self._longest = length
        return frames

    def settle(self) -> bool:
        """Give back what no frame since the last call has needed; whether the buffer is still longer than usual."""
        wanted = self._wanted(self._end - self._start)
        size = max(BUFFER_BYTES, wanted, PREFIX.size + self._longest)
        self._longest = 0
        if size < len(self._buffer):
            self._move(size)
        return size > BUFFER_BYTES

    def _wanted(self, pending: int) -> int:
        """Bytes that the first frame needs, as far as its length is known."""
        return PREFIX.size + (PREFIX.unpack_from(self._buffer, self._start)[0] if pending >= PREFIX.size else 0)

    def _move(self, size: int) -> None:
        pending = self._end - self._start
        buffer = self._allocate(size)
        buffer[:pending] = self._buffer[self._start : self._end]
        self._buffer, self._start, self._end = buffer, 0, pending
