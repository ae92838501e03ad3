"""State in one readable file per agent, replaced as a whole with each commit.

The recipe: write NAME.state.new, fsync it, keep the old file as NAME.state.previous, rename the new one into place, fsync the folder.
After SIGKILL or power loss at any point NAME.state is the old document or the new one. It costs 1 to 2 ms, more with a large state:
for many messages a second use sqlite. `document` has the text, `disk` what is done to the folder.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from ..errors import StateError
from ..mailbox.codec import decode
from .aside import refuse_aside, set_aside
from .base import MIB, MemoryContext, Restored, StoredFrame, encoded
from .disk import NO_ROOM, Disk, RealDisk
from .document import Unreadable, parse, render, value_line


class File:
    is_durable = True
    value_bytes = 4 * MIB
    total_bytes = 16 * MIB

    def __init__(self, context: MemoryContext, disk: Disk | None = None) -> None:
        self._folder = context.folder
        self._name = f"{context.token}.state"
        self._path = self._folder / self._name
        self._disk = disk or RealDisk(self._folder)
        self._run = ""
        self._lines: dict[str, bytes] = {}  # the values as lines of the document: only what changed is formatted anew
        self._values: dict[str, bytes] = {}
        self._frames: dict[str, StoredFrame] = {}  # by first message id
        self._confirmed: list[str] = []
        self._is_open = False
        self._is_there = False

    @property
    def _previous(self) -> str:
        return f"{self._name}.previous"

    @property
    def _hint(self) -> str:
        return f" (the state before the last commit is in {self._previous})"

    async def open(self, run: str) -> Restored:
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            refuse_aside(self._path, self._hint)
            data = self._disk.read(self._name)
            if data is None and self._disk.read(self._previous) is not None:
                raise StateError(
                    f"{self._path} is gone, but {self._previous} is there: rename it to go on with the state before the last commit, "
                    "or delete it as well to start empty.",
                    reason="corrupt",
                )
            self._is_there = data is not None
            if data is not None:
                known, self._values, frames = parse(data)
                if known != run and frames:
                    self._write(run, {key: value_line(key, value) for key, value in self._values.items()}, [])
                self._frames = {frame.message_ids[0]: frame for frame in frames} if known == run else {}
        except Unreadable as error:
            raise set_aside(self._path, error, more=self._hint) from error
        except OSError as error:
            raise StateError(f"cannot open the state in {self._path}: {error}", reason="io") from error
        self._run = run
        self._lines = {key: value_line(key, value) for key, value in self._values.items()}
        self._is_open = True
        return Restored(dict(self._values), tuple(self._frames.values()))

    async def peek(self) -> dict[str, bytes]:
        try:
            refuse_aside(self._path, self._hint)
            data = self._disk.read(self._name)
            return {} if data is None else parse(data)[1]
        except (OSError, Unreadable) as error:
            reason = "corrupt" if isinstance(error, Unreadable) else "io"
            raise StateError(f"cannot read the state in {self._path}: {error}", reason=reason) from error

    async def commit(self, changes: Mapping[str, bytes | None], message_ids: Sequence[str], frame: bytes) -> None:
        if not self._is_open:
            raise StateError(f"{self._name} is not open")
        values, lines = dict(self._values), dict(self._lines)
        for key, value in changes.items():
            if value is None:
                values.pop(key, None)
                lines.pop(key, None)
            else:
                values[key], lines[key] = value, value_line(key, value)
        frames = {first: stored for first, stored in self._frames.items() if first not in self._confirmed}
        if message_ids:
            frames[message_ids[0]] = StoredFrame(tuple(message_ids), frame)
        self._write(self._run, lines, list(frames.values()))
        self._values, self._lines, self._frames = values, lines, frames
        self._confirmed.clear()

    def _write(self, run: str, lines: Mapping[str, bytes], frames: Sequence[StoredFrame]) -> None:
        try:
            self._replace(render(run, [lines[key] for key in sorted(lines)], frames))
        except OSError as error:
            reason = "full" if error.errno in NO_ROOM else "io"
            raise StateError(f"cannot write the state to {self._path}: {error}", reason=reason) from error

    def _replace(self, data: bytes) -> None:
        """The document that is there before this, or `data`, at each moment and after any power loss."""
        disk, name, new = self._disk, self._name, f"{self._name}.new"
        try:
            disk.write(new, data, sync=True)  # before the rename: otherwise the name may be on the disk and the content not
            if self._is_there:
                disk.unlink(self._previous)
                disk.link(name, self._previous)
            disk.rename(new, name)
            disk.sync_folder()  # otherwise the rename may be undone
        except OSError:
            with suppress(OSError):  # what was wrong before matters more
                disk.unlink(new)
            raise
        self._is_there = True

    def confirmed(self, message_ids: Sequence[str]) -> None:
        self._confirmed.append(message_ids[0])

    async def store(self, key: str, value: Any) -> None:
        await self.commit({key: encoded(key, value, self.value_bytes)}, (), b"")

    async def retrieve(self, key: str) -> Any:
        value = self._values.get(key)
        return None if value is None else decode(value)

    async def delete(self, key: str) -> None:
        await self.commit({key: None}, (), b"")

    async def list_keys(self, prefix: str = "") -> list[str]:
        return sorted(key for key in self._values if key.startswith(prefix))

    async def clear(self) -> None:
        await self.commit(dict.fromkeys(self._values), (), b"")

    async def close(self) -> None:
        self._is_open = False
