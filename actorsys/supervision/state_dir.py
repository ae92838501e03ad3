"""The directory a supervisor keeps its files in: one supervisor at a time, and nothing of a killed one still running."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ..config.paths import private_directory
from ..errors import ConfigError
from ..process.folder import Folder
from ..process.launcher import sweep

SWEEP_TIMEOUT = 2.0  # seconds that the remains of a killed supervisor get to go


@contextlib.contextmanager
def temporary() -> Iterator[Folder]:
    """A private directory that goes with the supervisor."""
    folder = Folder.make()
    try:
        yield folder
    finally:
        folder.remove()


@contextlib.contextmanager
def claimed(path: Path, run: str) -> Iterator[Path]:
    """Hold `path` for the run of that id. Raises ConfigError when another supervisor holds it.

    The lock file names pid and run; one that was never emptied belongs to a run that was killed, whose remains are killed first.
    """
    private_directory(path)
    fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = _read(fd).partition(" ")[0]
            text = f"{path}: another supervisor (pid {pid}) runs here; stop it, or set another state_dir in [supervisor]"
            raise ConfigError(text, where=str(path)) from None
        previous = _read(fd).partition(" ")[2]
        if previous:
            sweep(previous, SWEEP_TIMEOUT)
        _write(fd, f"{os.getpid()} {run}")
        yield path
        _write(fd, "")
    finally:
        os.close(fd)


def _read(fd: int) -> str:
    return os.pread(fd, 200, 0).decode(errors="replace").strip()


def _write(fd: int, text: str) -> None:
    os.ftruncate(fd, 0)
    os.pwrite(fd, text.encode(), 0)
