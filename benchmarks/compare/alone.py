"""A network of one's own with nothing in it but loopback: some peers listen on every address there is, and offer no way not to."""

import ctypes
import fcntl
import os
import socket
import struct
import sys
from pathlib import Path

_NEWUSER, _NEWNET = 0x10000000, 0x40000000
_SIOCSIFFLAGS, _UP = 0x8914, 0x1


def shut_in() -> bool:
    """From now on for this process and all that it starts; False where the system does not allow it. The process must have one thread."""
    if sys.platform != "linux":
        return False
    unshare = ctypes.CDLL(None).unshare
    user, group = os.getuid(), os.getgid()
    if unshare(_NEWNET) != 0:  # only root may, unless in a user namespace of its own
        if unshare(_NEWUSER | _NEWNET) != 0:
            return False
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    with socket.socket() as probe:
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP))
    return True
