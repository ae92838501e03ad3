"""The zygote's end of its wire: it blocks, and reads one frame and not a byte behind it, so that a forked copy can read the next.

Whatever runs here runs in every agent, too, before it is one: each object that it looks at costs the agent a page of its own.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import msgspec

from .wire import ANCILLARY, CLOEXEC, SIZES, Closed, pack

_decode = msgspec.json.Decoder(dict[str, Any]).decode
_FD = struct.Struct("i")
# Plain ints: each operator of an enum runs some Python.
_PEEK, _CUT, _CLOSE = int(socket.MSG_PEEK), int(socket.MSG_CTRUNC), int(CLOEXEC)
_RIGHTS = int(socket.SOL_SOCKET), int(socket.SCM_RIGHTS)


class Line:
    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(True)
        self._socket = sock

    def peek(self) -> int:
        """Wait until a frame begins; how many descriptors come with it. Raises Closed when the other end is gone."""
        try:
            sizes = self._socket.recv(SIZES.size, _PEEK)  # the kernel never parts so few bytes that were sent in one call
        except OSError as error:
            raise Closed(str(error)) from None
        if not sizes:
            raise Closed("end of stream")
        return sizes[-1]

    def take(self) -> tuple[dict[str, Any], bytes, list[int]]:
        """Read the header, blob and descriptors of one frame. Raises Closed when the other end is gone."""
        fds: list[int] = []
        header, blob, _ = SIZES.unpack(self._read(SIZES.size, fds))
        body = self._read(header + blob, fds)
        try:
            order = _decode(body[:header])
        except msgspec.DecodeError:
            order = json.loads(bytes(body[:header]))  # it takes lone surrogates too: an environment need not be UTF-8
        return order, bytes(body[header:]), fds

    def send(self, header: dict[str, Any]) -> None:
        """Raises Closed when the other end is gone."""
        self.send_packed(pack(header))

    def send_packed(self, data: bytes) -> None:
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise Closed(str(error)) from None

    def _read(self, count: int, fds: list[int]) -> memoryview:
        data = rest = memoryview(bytearray(count))
        while rest:
            try:
                read, ancillary, flags, _ = self._socket.recvmsg_into((rest,), ANCILLARY, _CLOSE)
            except OSError as error:
                raise Closed(str(error)) from None
            for level, kind, rights in ancillary:
                if (level, kind) == _RIGHTS:
                    fds += [fd for (fd,) in _FD.iter_unpack(rights[: len(rights) // _FD.size * _FD.size])]
            if not read:
                raise Closed("end of stream")
            if flags & _CUT:
                raise Closed("descriptors were lost: too many open files")
            rest = rest[read:]
        return data
