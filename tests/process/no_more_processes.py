"""Makes every second fork of the process that imports this fail, as at the limit of processes: the agent's, not the one in between."""

import errno
import os

_fork = os.fork
_zygote = os.getpid()


def fork() -> int:
    if os.getpid() != _zygote:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return _fork()


os.fork = fork
