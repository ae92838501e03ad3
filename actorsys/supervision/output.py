"""What an agent prints and logs: read from its pipe, line by line, given to the logger, the last lines kept for `why`."""

import asyncio
import json
import logging
import os
from collections import deque

log = logging.getLogger("actorsys.agent")

RECORD = "\x1e"  # starts a line that is a log record in JSON; any other line was printed
KEPT_LINES = 100
LINE_BYTES = 16 * 1024  # a longer line is cut in pieces
READ_BYTES = 64 * 1024


class Output:
    """Reads until the process and all that it started have closed their end, or until `close`."""

    def __init__(self, name: str, fd: int) -> None:
        self._name = name
        self._fd = os.dup(fd)
        os.set_blocking(self._fd, False)
        self._rest = b""
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._loop = asyncio.get_running_loop()
        self._is_open = True
        self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Take what is there now and close; idempotent."""
        if not self._is_open:
            return
        while self._readable():
            pass
        if self._rest:
            self._line(self._rest)
        self._end()

    def _end(self) -> None:
        if self._is_open:
            self._is_open = False
            self._loop.remove_reader(self._fd)
            os.close(self._fd)

    def _readable(self) -> bool:
        if not self._is_open:
            return False
        try:
            data = os.read(self._fd, READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            if self._rest:
                self._line(self._rest)
                self._rest = b""
            self._end()
            return False
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._line(line)
        while len(self._rest) > LINE_BYTES:
            self._line(self._rest[:LINE_BYTES])
            self._rest = self._rest[LINE_BYTES:]
        return True

    def _line(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace")
        level, is_raw = logging.INFO, True
        if text.startswith(RECORD):
            try:
                record = json.loads(text[1:])
                level, text, is_raw = int(record["level"]), str(record["text"]), False
            except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
                pass  # an agent may print such a line itself: show it as it is
        self.lines.extend(text.splitlines() or [""])
        log.log(level, "%s", text, extra={"agent": self._name, "raw": is_raw})
