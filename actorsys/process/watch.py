"""How is a process told, in its poll(), that another has ended? A descriptor becomes readable."""

from __future__ import annotations

import os
import signal


def watch_children() -> int:
    """Readable, and to be emptied, after any child has ended. For a process of our own only: it takes SIGCHLD for itself."""
    wake, woken = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(woken, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # must have a handler, or the wake-up descriptor is not written to
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    return wake


def watch_process(pid: int) -> int | None:
    """Readable when the process has ended, whoever its parent is; None where the system has no pidfd."""
    try:
        return os.pidfd_open(pid)
    except (OSError, AttributeError):
        return None
