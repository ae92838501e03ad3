"""An agent in an interpreter of its own, for what cannot be forked: the keeper has done descriptors, session and parent by exec."""

from __future__ import annotations

import json
import os
import struct
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LENGTH = struct.Struct("!I")
ORDER_FD = 4


def order_file(header: dict[str, Any], payload: bytes) -> int:
    """A descriptor from which the new process reads its order: an argument or a pipe would limit its size."""
    text = json.dumps(header).encode()
    if sys.platform == "linux":
        fd = os.memfd_create("order")
    else:
        import tempfile

        with tempfile.TemporaryFile() as temporary:
            fd = os.dup(temporary.fileno())
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(LENGTH.pack(len(text)) + text + payload)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def main(arguments: list[str]) -> None:
    with os.fdopen(ORDER_FD, "rb") as file:
        (length,) = LENGTH.unpack(file.read(LENGTH.size))
        header, payload = json.loads(file.read(length)), file.read()
    from .boot import prepare, tidy_streams

    os.set_inheritable(3, False)  # the connection came through exec, and must not through the next
    prepare(header["host"])
    tidy_streams()
    from actorsys.process import birth  # after prepare: the real package, not the stand-in

    birth.live(header, payload)
