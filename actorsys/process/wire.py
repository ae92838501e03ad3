"""How do the launcher, the keeper and the zygote talk? Frames with a header, raw bytes and descriptors, over a socket pair.

A stream socket, not SOCK_SEQPACKET: frames may be larger than a socket buffer, and macOS has no other kind. Used by the keeper, so
it imports next to nothing. A wire never blocks: what the other side does not take yet waits here.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SIZES = struct.Struct("!IIB")  # bytes of the header, bytes of the blob, number of descriptors
_MAX_FDS = 8
_CHUNK = 1 << 18
ANCILLARY = socket.CMSG_SPACE(_MAX_FDS * 4)
CLOEXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)  # macOS has none; there the descriptors are marked after they came


class Closed(Exception):
    """The other end is gone."""


class Frame:
    __slots__ = ("header", "blob", "fds")

    def __init__(self, header: dict[str, Any], blob: bytes, fds: list[int]) -> None:
        self.header, self.blob, self.fds = header, blob, fds


class Wire:
    """One end. It owns its socket and every descriptor handed to `send`."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._in = bytearray()
        self._in_fds: list[int] = []
        self._out: list[tuple[memoryview, tuple[int, ...]]] = []

    def fileno(self) -> int:
        return self._socket.fileno()

    @property
    def is_waiting(self) -> bool:
        """Whether something is left to send: call `flush` when the socket is writable."""
        return bool(self._out)

    def send(self, header: dict[str, Any], blob: bytes = b"", fds: Iterable[int] = ()) -> None:
        """Send a frame, or queue it; the descriptors are closed on this side once they are out.

        Raises Closed when the other end is gone; the descriptors are closed then too.
        """
        owned = tuple(fds)
        self._out.append((memoryview(pack(header, blob, len(owned))), owned))
        self.flush()

    def flush(self) -> None:
        """Send what the socket takes. Raises Closed when the other end is gone."""
        while self._out:
            data, fds = self._out[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
            try:
                sent = self._socket.sendmsg([data[:_CHUNK]], rights)
            except BlockingIOError:
                return
            except OSError as error:
                self._drop_out()
                raise Closed(str(error)) from None
            # The descriptors travel with the first byte that was taken, never twice.
            for fd in fds:
                os.close(fd)
            if sent == len(data):
                del self._out[0]
            else:
                self._out[0] = (data[sent:], ())

    def receive(self) -> list[Frame]:
        """The frames that have arrived in full; may be none. Raises Closed at the end of the stream."""
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(_CHUNK, ANCILLARY, CLOEXEC)
        except BlockingIOError:
            return []
        except OSError as error:
            raise Closed(str(error)) from None
        for level, kind, rights in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                count = len(rights) // 4
                self._in_fds += struct.unpack(f"{count}i", rights[: count * 4])
        if not data:
            raise Closed("end of stream")
        if flags & socket.MSG_CTRUNC:
            # No room for descriptors in this process: what follows could not be matched with its frame any more.
            raise Closed("descriptors were lost: too many open files")
        self._in += data
        frames = []
        while (frame := self._cut()) is not None:
            frames.append(frame)
        return frames

    def shutdown(self) -> None:
        """Let the other end see the end of the stream now; nothing more goes out."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

    def close(self) -> None:
        self._drop_out()
        for fd in self._in_fds:
            os.close(fd)
        self._in_fds.clear()
        self._socket.close()

    def _cut(self) -> Frame | None:
        if len(self._in) < SIZES.size:
            return None
        header, blob, count = SIZES.unpack_from(self._in)
        end = SIZES.size + header + blob
        if len(self._in) < end:
            return None
        body = bytes(self._in[SIZES.size : end])
        del self._in[:end]
        fds, self._in_fds = self._in_fds[:count], self._in_fds[count:]
        return Frame(json.loads(body[:header]), body[header:], fds)

    def _drop_out(self) -> None:
        for _, fds in self._out:
            for fd in fds:
                os.close(fd)
        self._out.clear()


def pack(header: dict[str, Any], blob: bytes = b"", fds: int = 0) -> bytes:
    """A frame as it goes over the wire, with so many descriptors beside it."""
    text = json.dumps(header).encode()
    return SIZES.pack(len(text), len(blob), fds) + text + blob


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends for two wires."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
