"""What the crash tests let a backend do, and what must be true of its state afterwards."""

from typing import Any

from actorsys.errors import StateError
from actorsys.mailbox.codec import encode
from actorsys.memory.base import PASSING, Memory, Restored
from actorsys.memory.file import File
from actorsys.memory.sqlite import Sqlite

RUN = "run1"
Snapshot = tuple[dict[str, bytes], frozenset[tuple[tuple[str, ...], bytes]]]


class Commit:
    """The n-th commit: what it changes, and the frame of which it confirms that it was taken."""

    def __init__(self, number: int, size: int) -> None:
        self.ids = (f"{RUN}.{number}.0", f"{RUN}.{number}.1")
        self.frame = b"frame %d " % number + b"f" * size
        self.changes: dict[str, bytes | None] = {
            "total": encode(number),
            f"key{number % 3}": encode({"text": chr(97 + number % 26) * size, "number": number}),
            f"key{(number + 1) % 3}": None,
        }
        self.confirms = (f"{RUN}.{number - 2}.0", f"{RUN}.{number - 2}.1") if number > 2 else None


def commits(count: int, size: int = 40) -> list[Commit]:
    return [Commit(number, size) for number in range(1, count + 1)]


def snapshots(all_commits: list[Commit]) -> list[Snapshot]:
    """The state and the frames after none, one, two, ... of the commits."""
    values: dict[str, bytes] = {}
    frames: dict[str, tuple[tuple[str, ...], bytes]] = {}
    found = [(dict(values), frozenset(frames.values()))]
    for commit in all_commits:
        for key, value in commit.changes.items():
            if value is None:
                values.pop(key, None)
            else:
                values[key] = value
        if commit.confirms:
            frames.pop(commit.confirms[0], None)
        frames[commit.ids[0]] = (commit.ids, commit.frame)
        found.append((dict(values), frozenset(frames.values())))
    return found


async def perform(memory: Memory, all_commits: list[Commit], acknowledge: Any, tries: int = 3) -> None:
    """What an agent does: open, commit, acknowledge; try again what may pass, end with the first other error."""
    await memory.open(RUN)
    for number, commit in enumerate(all_commits, 1):
        if commit.confirms:
            memory.confirmed(commit.confirms)
        for left in reversed(range(tries)):
            try:
                await memory.commit(commit.changes, commit.ids, commit.frame)
                break
            except StateError as error:
                if error.reason not in PASSING or not left:
                    raise
        acknowledge(number)
    await memory.close()


def verdict(restored: Restored | StateError, acknowledged: int, all_snapshots: list[Snapshot]) -> str | None:
    """What is wrong with what a restart found; None if it is the state of some prefix that has all acknowledged commits."""
    if isinstance(restored, StateError):
        return f"{acknowledged} acknowledged, and nothing can be read: {restored.message}"
    found = (restored.values, frozenset((frame.message_ids, frame.frame) for frame in restored.frames))
    if found in all_snapshots[acknowledged:]:
        return None
    if found in all_snapshots:
        return f"{acknowledged} acknowledged, and back to {all_snapshots.index(found)}"
    return f"{acknowledged} acknowledged, and the state is torn: {found}"


# --- backends with a planted mistake


class InPlace(File):
    """Writes over the only copy."""

    def _replace(self, data: bytes) -> None:
        self._disk.write(self._name, data)
        self._disk.sync_folder()


class NoFileSync(File):
    """Renames a file whose content may not be on the disk."""

    def _replace(self, data: bytes) -> None:
        self._disk.write(f"{self._name}.new", data, sync=False)
        self._disk.rename(f"{self._name}.new", self._name)
        self._disk.sync_folder()


class NoFolderSync(File):
    """Acknowledges a rename that may be undone."""

    def _replace(self, data: bytes) -> None:
        self._disk.write(f"{self._name}.new", data)
        self._disk.rename(f"{self._name}.new", self._name)


class Checkpointing(Sqlite):
    """Writes its WAL back after every few commits, so that the harness sees that too."""

    async def open(self, run: str) -> Restored:
        restored = await super().open(run)
        self._db.execute("pragma wal_autocheckpoint = 4")
        return restored


class NoJournal(Sqlite):
    """Writes over the only copy, page by page."""

    async def open(self, run: str) -> Restored:
        restored = await super().open(run)
        self._db.execute("pragma journal_mode = delete")
        self._db.execute("pragma journal_mode = off")
        return restored


BACKENDS: dict[str, Any] = {"file": File, "sqlite": Checkpointing, "in place": InPlace, "no journal": NoJournal}
