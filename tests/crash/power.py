"""A folder that can lose its power: after each step it knows every state the disk may be in.

The model: file content that was not synced may be there, be missing, be torn, or be zeros of the right length. Names change in order, as
in a journal of metadata: after a power loss any prefix of the changes since the last sync of the folder is there.
"""

import asyncio
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from scenario import RUN, Commit, Snapshot, commits, perform, snapshots, verdict

from actorsys.errors import StateError
from actorsys.memory.base import MemoryContext, Restored


class Inode:
    def __init__(self, data: bytes = b"") -> None:
        self.data = data
        self.synced = data

    def possible(self) -> list[bytes]:
        if self.data == self.synced:
            return [self.data]
        half = len(self.data) // 2
        torn = [self.data[:half], self.data[:half] + bytes(len(self.data) - half), bytes(half) + self.data[half:]]
        return list(dict.fromkeys([self.synced, self.data, b"", bytes(len(self.data)), *torn]))


class ModelDisk:
    """Satisfies `actorsys.memory.disk.Disk`; `stepped` is called after each step."""

    def __init__(self, files: dict[str, bytes] | None = None, stepped: Callable[[], None] = lambda: None) -> None:
        self.names = {name: Inode(data) for name, data in (files or {}).items()}
        self.synced_names = dict(self.names)
        self.changes: list[tuple[str, Inode | None]] = []
        self.stepped = stepped

    def _name(self, *changes: tuple[str, Inode | None]) -> None:
        """One change of the folder, maybe of two names at once."""
        for name, inode in changes:
            if inode is None:
                self.names.pop(name, None)
            else:
                self.names[name] = inode
        self.changes.append(changes)  # type: ignore[arg-type]
        self.stepped()

    def read(self, name: str) -> bytes | None:
        return self.names[name].data if name in self.names else None

    def write(self, name: str, data: bytes, *, sync: bool = True) -> None:
        inode = self.names.get(name)
        if inode is None:
            inode = Inode()
            self._name((name, inode))
        inode.data = b""
        self.stepped()
        inode.data = data
        self.stepped()
        if sync:
            inode.synced = data
            self.stepped()

    def link(self, name: str, to: str) -> None:
        assert to not in self.names
        self._name((to, self.names[name]))

    def rename(self, name: str, to: str) -> None:
        self._name((name, None), (to, self.names[name]))

    def unlink(self, name: str) -> None:
        if name in self.names:
            self._name((name, None))

    def sync_folder(self) -> None:
        self.synced_names = dict(self.names)
        self.changes.clear()
        self.stepped()

    def after_power_loss(self) -> Iterator[dict[str, bytes]]:
        """Every folder that may be found."""
        for length in range(len(self.changes) + 1):
            names = dict(self.synced_names)
            for name, inode in itertools.chain.from_iterable(self.changes[:length]):  # type: ignore[arg-type]
                if inode is None:
                    names.pop(name, None)
                else:
                    names[name] = inode
            inodes = list({id(inode): inode for inode in names.values()}.values())
            for contents in itertools.product(*(inode.possible() for inode in inodes)):
                found = {id(inode): data for inode, data in zip(inodes, contents, strict=True)}
                yield {name: found[id(inode)] for name, inode in names.items()}


def _make(backend: Any, folder: Path, disk: ModelDisk) -> Any:
    return backend(MemoryContext(name="counter/0", folder=folder), disk)


def restart(backend: Any, folder: Path, files: dict[str, bytes]) -> Restored | StateError:
    try:
        return asyncio.run(_make(backend, folder, ModelDisk(files)).open(RUN))
    except StateError as error:
        return error


def lose_power(backend: Any, folder: Path, count: int) -> tuple[int, list[str]]:
    """How many states of the disk were tried, and what was wrong with which."""
    all_commits: list[Commit] = commits(count)
    all_snapshots: list[Snapshot] = snapshots(all_commits)
    found: dict[tuple[Any, ...], int] = {}  # a state of the disk, and the most that was acknowledged when it could be found
    acknowledged = 0

    def stepped() -> None:
        for files in disk.after_power_loss():
            found[tuple(sorted(files.items()))] = acknowledged

    def acknowledge(number: int) -> None:
        nonlocal acknowledged
        acknowledged = number
        stepped()

    disk = ModelDisk(stepped=stepped)
    asyncio.run(perform(_make(backend, folder, disk), all_commits, acknowledge))
    wrong = []
    for files, least in found.items():
        if problem := verdict(restart(backend, folder, dict(files)), least, all_snapshots):
            wrong.append(problem)
    return len(found), wrong


def harm_bytes(backend: Any, folder: Path, count: int) -> tuple[int, list[str]]:
    """Change each byte of the file in turn: it must be noticed, or make no difference."""
    all_commits = commits(count)
    all_snapshots = snapshots(all_commits)
    disk = ModelDisk()
    asyncio.run(perform(_make(backend, folder, disk), all_commits, lambda number: None))
    files = {name: inode.data for name, inode in disk.names.items()}
    (name,) = (name for name in files if name.endswith(".state"))
    wrong = []
    for at in range(len(files[name])):
        data = bytearray(files[name])
        data[at] ^= 1
        found = restart(backend, folder, {**files, name: bytes(data)})
        if not isinstance(found, StateError) and (problem := verdict(found, count, all_snapshots)):
            wrong.append(f"byte {at}: {problem}")
    return len(files[name]), wrong
