"""What does Linux offer beyond the standard library? prctl, our mark in the environment that /proc shows, and how memory is given back.

Everything here is best effort: where a call does not exist it does nothing.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from mmap import PAGESIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MARK = "ACTORSYS_AGENT"
MARK_ROOM = 240  # characters: run, name with replica, incarnation

_PDEATHSIG, _SUBREAPER = 1, 36
_DONTNEED = 4
_LAST_FD = 2**32 - 1
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_keepers = 0
_libc = ctypes.CDLL(None)
_madvise: Any = None
_prctl: Any = None  # made here, where all agents share it, and not in each of them
_close_range: Any = None
if sys.platform == "linux":
    _prctl = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_ulong] * 5)(("prctl", _libc))
    _madvise = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)(("madvise", _libc))
    if hasattr(_libc, "close_range"):
        _close_range = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 3)(("close_range", _libc))
_SIGKILL = int(signal.SIGKILL)


def die_with_parent() -> None:
    """SIGKILL for this process when its parent ends; survives exec. The parent must be single-threaded: the kernel means its thread."""
    if _prctl is not None:
        _prctl(_PDEATHSIG, _SIGKILL, 0, 0, 0)


def adopt_descendants() -> None:
    """From now on every orphan below this process falls to it, not to process 1."""
    if _prctl is not None:
        _prctl(_SUBREAPER, 1, 0, 0, 0)


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
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        os.write(fd, b"500")
    except OSError:
        pass
    finally:
        os.close(fd)


def give_back(address: int, size: int) -> None:
    """Hand those pages of an object back that hold nothing but zeros: they read as zeros all the same, and cost nothing until written."""
    if _madvise is None:
        return
    zeros = bytes(PAGESIZE)
    first = -(-address // PAGESIZE) * PAGESIZE
    for page in range(first, address + size - PAGESIZE + 1, PAGESIZE):
        if ctypes.string_at(page, PAGESIZE) == zeros:
            _madvise(page, PAGESIZE, _DONTNEED)


def keep_freed(is_wanted: bool) -> None:
    """Have the C library keep large blocks that are freed; when as many have called with False as with True, give back what is free.

    Left alone it hands them back at once, and the kernel clears every page of the next: with 1 MiB messages an agent spent most of
    its time there (docs/performance.md). The thresholds are those it comes to by itself once a block of 32 MiB was freed.
    """
    global _keepers
    _keepers += 1 if is_wanted else -1
    if not hasattr(_libc, "mallopt"):
        return
    if is_wanted:
        _libc.mallopt(_MMAP_THRESHOLD, 32 * 2**20)
        _libc.mallopt(_TRIM_THRESHOLD, 64 * 2**20)
    elif not _keepers:
        _libc.malloc_trim(0)


def close_from(first: int) -> None:
    """Close every descriptor from `first` on."""
    if _close_range is None or _close_range(first, _LAST_FD, 0):
        close_others(set(range(3, first)))


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
