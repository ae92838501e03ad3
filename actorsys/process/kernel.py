"""What does Linux offer beyond the standard library? prctl, and our mark in the environment that /proc shows.

Everything here is best effort: where a call does not exist it does nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

MARK = "ACTORSYS_AGENT"
MARK_ROOM = 240  # characters: run, name with replica, incarnation

_PDEATHSIG, _SUBREAPER = 1, 36
_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """SIGKILL for this process when its parent ends; survives exec. The parent must be single-threaded: the kernel means its thread."""
    if sys.platform == "linux":
        _libc.prctl(_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def adopt_descendants() -> None:
    """From now on every orphan below this process falls to it, not to process 1."""
    if sys.platform == "linux":
        _libc.prctl(_SUBREAPER, 1, 0, 0, 0)


def mark_of(run: str, name: str, incarnation: int) -> str:
    """What says, in a process's environment, whose it is."""
    return f"{run}/{name}/{incarnation}"


def mark_place() -> int:
    """The address of our own mark in the block that /proc/PID/environ shows; 0 when there is none.

    Call it before os.environ sets the mark: from then on the C library knows only the new copy.
    """
    _libc.getenv.restype = ctypes.c_void_p
    place = int(_libc.getenv(MARK.encode()) or 0)
    return place if place and len(ctypes.string_at(place)) == MARK_ROOM else 0


def rewrite_mark(place: int, mark: str) -> None:
    """Write a mark over the one this process was started with.

    So a forked agent, and all that it forks without exec, is known by /proc/PID/environ as surely as an exec'd one. The room is
    filled with spaces, not zeros: readers take two zeros in a row for the end of the environment.
    """
    if place:
        ctypes.memmove(place, mark.encode()[:MARK_ROOM].ljust(MARK_ROOM), MARK_ROOM)


def raise_oom_score() -> None:
    """When memory runs out an agent goes before its supervisor does."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass


def close_others(keep: set[int]) -> None:
    """Close every descriptor but these and the standard three."""
    try:
        fds = [int(name) for name in os.listdir("/dev/fd" if sys.platform != "linux" else "/proc/self/fd")]
    except OSError:
        fds = list(range(3, 4096))
    for fd in fds:
        if fd > 2 and fd not in keep:
            try:
                os.close(fd)
            except OSError:
                pass
