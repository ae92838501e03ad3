"""One process that the launcher started, as the supervisor sees it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection

from .orders import How, Status
from .procfs import Procfs

Send = Callable[[int, int], None]


class Process:
    """Alive until `exited` is done; that says how it ended, and is set only when all that it started is gone too."""

    def __init__(
        self, pid: int, how: How, connection: Connection | None, output_fd: int, send: Send, why_fresh: str = ""
    ) -> None:
        self.pid = pid
        self.how = how
        self.why_fresh = why_fresh  # the reason it was not forked although it might have been
        self.connection = connection  # our end; None for a program that is no agent
        self.output_fd = output_fd  # what it writes to stdout and stderr, non-blocking; -1 when it goes elsewhere
        self.exited: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
        self._send = send

    @property
    def is_ending(self) -> bool:
        """Whether it ends by itself: its exit is not known yet, but to the system."""
        return self.exited.done() or Procfs().is_ending(self.pid)

    def kill(self) -> None:
        """SIGKILL to it and its process group. Nothing when it has ended."""
        self._send(self.pid, signal.SIGKILL)

    def signal(self, number: int) -> None:
        """A signal to the process itself. Nothing when it has ended."""
        self._send(self.pid, number)

    def read_output(self) -> bytes | None:
        """What it wrote since, without waiting; None when there is nothing yet, b"" at the end."""
        try:
            return os.read(self.output_fd, 1 << 16)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def close(self) -> None:
        """Close our ends of connection and output; idempotent. Whoever reads from them calls this when they are read to the end."""
        if self.connection is not None:
            self.connection.close()
        if self.output_fd >= 0:
            os.close(self.output_fd)
            self.output_fd = -1
