"""Is anything left of a run that was killed? Found by the mark in the environment, whoever the parent is by now."""

from __future__ import annotations

import os
import signal
import time

from .procfs import Procfs

_ROUND_S = 0.01


def remains_of(run: str) -> list[int]:
    """The living processes that carry the mark of a run; never this one."""
    procfs = Procfs()
    me = os.getpid()
    return [pid for pid in procfs.pids() if pid != me and _is_of(procfs, pid, run)]


def sweep(run: str, timeout: float) -> list[int]:
    """SIGKILL what is left of a run until nothing is; what is still there after `timeout` seconds. Blocks: call it in a thread."""
    until = time.monotonic() + timeout
    while (left := remains_of(run)) and time.monotonic() < until:
        for pid in left:
            _kill(pid, run)
        time.sleep(_ROUND_S)
    return left


def _kill(pid: int, run: str) -> None:
    """It is no child of ours, so its number may become another's at any time: the pidfd is opened first, then it is looked at again."""
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return
    try:
        if _is_of(Procfs(), pid, run):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        pass  # it has just ended
    finally:
        os.close(pidfd)


def _is_of(procfs: Procfs, pid: int, run: str) -> bool:
    return (procfs.mark(pid) or "").startswith(f"{run}/")
