"""The few things that the file backend does to a disk. A model of power loss stands in for them in the tests."""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Protocol

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


class Disk(Protocol):
    """One folder. Every call may raise OSError."""

    def read(self, name: str) -> bytes | None:
        """The content of a file; None when there is none."""
        ...

    def write(self, name: str, data: bytes, *, sync: bool = True) -> None:
        """Make a file, or make it empty, and write it. With `sync` the content is on the disk when this returns, the name maybe not."""
        ...

    def link(self, name: str, to: str) -> None:
        """The same file under a second name, which is free."""
        ...

    def rename(self, name: str, to: str) -> None: ...
    def unlink(self, name: str) -> None:
        """There need not be such a file."""
        ...

    def sync_folder(self) -> None:
        """Its names are on the disk when this returns."""
        ...


class RealDisk:
    """Files readable by their owner only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str) -> bytes | None:
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes, *, sync: bool = True) -> None:
        fd = os.open(self._folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(fd, rest) :]
            if sync:
                os.fsync(fd)
        finally:
            os.close(fd)

    def link(self, name: str, to: str) -> None:
        os.link(self._folder / name, self._folder / to)

    def rename(self, name: str, to: str) -> None:
        os.rename(self._folder / name, self._folder / to)

    def unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(self._folder / name)

    def sync_folder(self) -> None:
        fd = os.open(self._folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
