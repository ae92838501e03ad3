"""Who removes the folder that a supervisor made for itself? It does; where it was killed, its keeper, which is handed it at its start.

Used by the keeper, so it imports next to nothing until something is removed.
"""

from __future__ import annotations

import os
import stat


class Folder:
    """Only the very folder that was made is ever removed: not what stands at its path by then, nor what a link there leads to."""

    def __init__(self, path: str, identity: str) -> None:
        self.path, self.identity = path, identity
        self._owner = os.getpid()  # a fork of the host has a copy of this object, and must not remove what is still in use

    @classmethod
    def make(cls) -> Folder:
        """A new one, private, among the system's temporary files."""
        from tempfile import mkdtemp

        path = os.path.abspath(mkdtemp(prefix="actorsys-"))
        return cls(path, _identity(path))

    def remove(self) -> None:
        """Idempotent; what cannot be removed stays."""
        if os.getpid() == self._owner and self.identity and _identity(self.path) == self.identity:
            from shutil import rmtree

            rmtree(self.path, ignore_errors=True)


def _identity(path: str) -> str:
    """What tells a directory of ours from whatever else may have its path later; "" for anything else."""
    try:
        found = os.lstat(path)
    except OSError:
        return ""
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
    return f"{found.st_dev}.{found.st_ino}" if is_ours else ""
